using Amazon;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Snapshots.Images;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Remote;

/// <summary>What a ranged request found.</summary>
/// <param name="Version">The object's ETag: other contents have another.</param>
/// <param name="LengthBytes">Of the whole object.</param>
/// <param name="Bytes">So many were there to be read.</param>
internal readonly record struct S3Answer(string Version, long LengthBytes, int Bytes);

/// <summary>
/// The calls to one bucket that the page store needs, each in bounded time, with errors in its words. Requests that fail are repeated with growing pauses
/// by the SDK; answers that break off are asked for again, from where they ended, by us. Thread-safe.
/// </summary>
internal sealed class S3Bucket : IDisposable
{
    private readonly PackPlacement _placement;
    private readonly S3Times _times;
    private readonly int _listPage;
    private readonly S3HttpClients _http;
    private readonly Lazy<AmazonS3Client> _client;
    private readonly SemaphoreSlim _slots = new(PageStoreLimits.RemoteRequestsAtOnce);

    public S3Bucket(PackPlacement placement, RemoteStatistics statistics, S3Times times, int listPage = 1000)
    {
        _placement = placement;
        _times = times;
        _listPage = listPage;
        Statistics = statistics;
        _http = new S3HttpClients(statistics, _times);
        // Credentials are looked for when they are first needed: opening a store does not need them.
        _client = new Lazy<AmazonS3Client>(() => new AmazonS3Client(Configure()));
    }

    public RemoteStatistics Statistics { get; }

    private string Endpoint => _placement.Endpoint?.GetLeftPart(UriPartial.Authority) ?? $"the object store of region {_placement.Region}";

    public string AddressOf(string key) => $"s3://{_placement.Bucket}/{key}";

    /// <summary>Reads a range; less of it where the object ends. null when there is no such object.</summary>
    /// <param name="version">What it must still be; null when anything will do.</param>
    /// <exception cref="ImageException">As <paramref name="failure"/>.</exception>
    public async Task<S3Answer?> TryReadAsync(string key, string? version, long offset, Memory<byte> destination, ImageFailure failure)
    {
        await _slots.WaitAsync().ConfigureAwait(false);
        using var limit = new CancellationTokenSource(_times.For(destination.Length));
        try
        {
            return await ReadResumingAsync(key, version, offset, destination, limit.Token).ConfigureAwait(false);
        }
        catch (AmazonS3Exception none) when (S3Failures.IsMissing(none))
        {
            return null;
        }
        catch (AmazonS3Exception empty) when (S3Failures.IsOutOfRange(empty))
        {
            // Only an object without a byte has none at its beginning; elsewhere it is shorter than it was.
            return new S3Answer(version ?? string.Empty, offset, 0);
        }
        catch (Exception cause) when (S3Failures.IsRefusal(cause))
        {
            throw S3Failures.Describe(failure, AddressOf(key), "read", Endpoint, cause);
        }
        finally
        {
            _slots.Release();
        }
    }

    /// <summary>null when there is no such object.</summary>
    /// <exception cref="ImageException">NotFound: nobody can tell.</exception>
    public S3Answer? TryHead(string key)
    {
        try
        {
            return Run(limit => HeadAsync(key, limit));
        }
        catch (Exception cause) when (S3Failures.IsRefusal(cause))
        {
            throw S3Failures.Describe(ImageFailure.NotFound, AddressOf(key), "found", Endpoint, cause);
        }
    }

    /// <exception cref="ImageException">NotFound.</exception>
    public List<StoredObject> List(string prefix, int atMost = int.MaxValue)
    {
        try
        {
            return Run(limit => ListAsync(prefix, atMost, limit));
        }
        catch (Exception cause) when (S3Failures.IsRefusal(cause))
        {
            throw S3Failures.Describe(ImageFailure.NotFound, AddressOf(prefix), "listed", Endpoint, cause);
        }
    }

    /// <exception cref="ImageException">WriteFailed.</exception>
    public void Delete(string key)
    {
        try
        {
            Run(limit => _client.Value.DeleteObjectAsync(new DeleteObjectRequest { BucketName = _placement.Bucket, Key = key }, limit));
        }
        catch (Exception cause) when (S3Failures.IsRefusal(cause))
        {
            throw S3Failures.Describe(ImageFailure.WriteFailed, AddressOf(key), "deleted", Endpoint, cause);
        }
    }

    /// <summary>Stores a file unless the key is taken; false when it is.</summary>
    /// <exception cref="ImageException">WriteFailed: nothing is stored, nor are parts of it.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public bool PutFile(string key, string path)
    {
        using var file = File.OpenHandle(path);
        return Put(key, new S3Upload.Source(RandomAccess.GetLength(file), (offset, count) => S3Upload.ReadPart(file, offset, count)));
    }

    /// <summary>As <see cref="PutFile"/>.</summary>
    /// <exception cref="ImageException">WriteFailed.</exception>
    public bool PutBytes(string key, byte[] contents) => Put(key, new S3Upload.Source(contents.Length, (offset, count) => contents.AsSpan((int)offset, count).ToArray()));

    public void Dispose()
    {
        if (_client.IsValueCreated)
            _client.Value.Dispose();
        _http.Dispose();
        _slots.Dispose();
    }

    // The head first: it spares sending what is there already, and servers that do not know conditional puts overwrite. What they overwrite between the two is
    // the same object: names follow from contents, and of one store nobody deletes or replaces what somebody stores at this moment (docs/page-store.md).
    private bool Put(string key, S3Upload.Source source)
    {
        try
        {
            if (Run(limit => HeadAsync(key, limit)) is not null)
                return false;
            return new S3Upload(_client.Value, _placement.Bucket, key, source, Statistics, _times).Run();
        }
        catch (Exception cause) when (S3Failures.IsRefusal(cause) && cause is not IOException { InnerException: null })
        {
            throw S3Failures.Describe(ImageFailure.WriteFailed, AddressOf(key), "stored", Endpoint, cause);
        }
    }

    private AmazonS3Config Configure()
    {
        var config = new AmazonS3Config
        {
            ForcePathStyle = true,
            MaxErrorRetry = _times.Attempts - 1,
            RetryMode = RequestRetryMode.Standard,
            HttpClientFactory = _http,
            // What we send carries the SHA-256 that it is signed with; what we read is checked by frames.
            RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
        };
        if (_placement.Endpoint is not null)
        {
            config.ServiceURL = _placement.Endpoint.GetLeftPart(UriPartial.Authority);
            config.AuthenticationRegion = _placement.Region;
        }
        else
        {
            config.RegionEndpoint = RegionEndpoint.GetBySystemName(_placement.Region);
        }
        return config;
    }

    private async Task<S3Answer> ReadResumingAsync(string key, string? version, long offset, Memory<byte> destination, CancellationToken limit)
    {
        var answer = new S3Answer(version ?? string.Empty, 0, 0);
        for (var attempt = 1; ; attempt++)
        {
            // Before there is one the SDK repeats by itself.
            var answered = false;
            try
            {
                var rest = destination[answer.Bytes..];
                var request = new GetObjectRequest { BucketName = _placement.Bucket, Key = key, ByteRange = new ByteRange(offset + answer.Bytes, offset + destination.Length - 1), EtagToMatch = version };
                using var response = await _client.Value.GetObjectAsync(request, limit).ConfigureAwait(false);
                answered = true;
                // The next attempt must go on with the same contents.
                version ??= string.IsNullOrEmpty(response.ETag) ? throw new AmazonS3Exception("the server gives the object no ETag") : response.ETag;
                answer = answer with { Version = version, LengthBytes = LengthOf(response, offset + answer.Bytes) };
                var expected = (int)Math.Min(rest.Length, answer.LengthBytes - offset - answer.Bytes);
                for (var got = 0; got < expected;)
                {
                    var count = await ReadPieceAsync(response.ResponseStream, rest[got..expected], limit).ConfigureAwait(false);
                    if (count == 0)
                        throw new IOException($"the answer ended {expected - got} bytes early");
                    got += count;
                    Statistics.CountReceived(count);
                    answer = answer with { Bytes = answer.Bytes + count };
                }
                return answer;
            }
            catch (Exception broken) when (answered && S3Failures.IsBrokenAnswer(broken) && attempt < _times.Attempts && !limit.IsCancellationRequested)
            {
                Statistics.CountResumed();
                // Growing pauses: a server that breaks answers off has too much to do.
                await Task.Delay(TimeSpan.FromMilliseconds(25 << attempt), limit).ConfigureAwait(false);
            }
        }
    }

    private async Task<int> ReadPieceAsync(Stream body, Memory<byte> destination, CancellationToken limit)
    {
        using var stall = CancellationTokenSource.CreateLinkedTokenSource(limit);
        stall.CancelAfter(_times.Stall);
        try
        {
            return await body.ReadAsync(destination, stall.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException stalled) when (!limit.IsCancellationRequested)
        {
            throw new IOException("the answer stalled", stalled);
        }
    }

    private static long LengthOf(GetObjectResponse response, long from)
    {
        // "bytes 0-127/2834"
        var range = response.ContentRange;
        if (range is not null && range.LastIndexOf('/') is >= 0 and var slash && long.TryParse(range.AsSpan(slash + 1), out var length))
        {
            return range.StartsWith($"bytes {from}-", StringComparison.Ordinal)
                ? length
                : throw new AmazonS3Exception($"asked for bytes from {from} on, the server sent \"{range}\"");
        }
        return from == 0 ? response.ContentLength : throw new AmazonS3Exception("the server does not answer ranged requests");
    }

    private async Task<S3Answer?> HeadAsync(string key, CancellationToken limit)
    {
        try
        {
            var found = await _client.Value.GetObjectMetadataAsync(new GetObjectMetadataRequest { BucketName = _placement.Bucket, Key = key }, limit).ConfigureAwait(false);
            return new S3Answer(found.ETag, found.ContentLength, 0);
        }
        catch (AmazonS3Exception none) when (S3Failures.IsMissing(none))
        {
            return null;
        }
    }

    private async Task<List<StoredObject>> ListAsync(string prefix, int atMost, CancellationToken limit)
    {
        var found = new List<StoredObject>();
        var request = new ListObjectsV2Request { BucketName = _placement.Bucket, Prefix = prefix, MaxKeys = Math.Min(_listPage, atMost) };
        do
        {
            var page = await _client.Value.ListObjectsV2Async(request, limit).ConfigureAwait(false);
            foreach (var stored in page.S3Objects ?? [])
                found.Add(new StoredObject(stored.Key, stored.Size ?? 0));
            request.ContinuationToken = page.IsTruncated == true ? page.NextContinuationToken : null;
        }
        while (request.ContinuationToken is not null && found.Count < atMost);
        return found;
    }

    private T Run<T>(Func<CancellationToken, Task<T>> call)
    {
        using var limit = new CancellationTokenSource(_times.For(0));
        return call(limit.Token).GetAwaiter().GetResult();
    }
}
