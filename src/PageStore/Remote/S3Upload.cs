using Amazon.S3;
using Amazon.S3.Model;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.PageStore.Remote;

/// <summary>
/// Stores one object, if its key is free: by one request, or in parts when it is long. Each request is signed with the SHA-256 of what it carries, which the
/// server compares. An upload that does not end is taken back, parts and all.
/// </summary>
internal sealed class S3Upload(AmazonS3Client client, string bucket, string key, S3Upload.Source source, RemoteStatistics statistics, S3Times times)
{
    private const string IfFree = "*";

    // Servers that say they do not know the condition are asked without; those that say nothing overwrite with the same.
    private string? _condition = IfFree;

    /// <param name="Read">Gives so many bytes from an offset on.</param>
    internal sealed record Source(long LengthBytes, Func<long, int, byte[]> Read);

    /// <returns>False when the key was taken.</returns>
    public bool Run()
    {
        using var limit = new CancellationTokenSource(times.For(source.LengthBytes));
        try
        {
            if (source.LengthBytes <= PageStoreLimits.RemotePartBytes)
                Conditionally(() => PutWholeAsync(limit.Token)).GetAwaiter().GetResult();
            else
                PutPartsAsync(limit.Token).GetAwaiter().GetResult();
            return true;
        }
        catch (AmazonS3Exception taken) when (S3Failures.IsPreconditionFailed(taken))
        {
            return false;
        }
    }

    /// <exception cref="IOException">The file cannot be read, or has become shorter.</exception>
    public static byte[] ReadPart(SafeFileHandle file, long offset, int count)
    {
        var bytes = GC.AllocateUninitializedArray<byte>(count);
        for (int done = 0, got; done < count; done += got)
        {
            got = RandomAccess.Read(file, bytes.AsSpan(done), offset + done);
            if (got == 0)
                throw new EndOfStreamException($"a file in incoming/ ends at {offset + done}");
        }
        return bytes;
    }

    private async Task Conditionally(Func<Task> put)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await put().ConfigureAwait(false);
                return;
            }
            catch (AmazonS3Exception unknown) when (S3Failures.IsNotImplemented(unknown) && _condition is not null)
            {
                _condition = null;
            }
            catch (AmazonS3Exception other) when (S3Failures.IsConflict(other) && attempt < times.Attempts)
            {
                // Somebody stores the same key at this moment: soon it is taken, or free.
                await Task.Delay(TimeSpan.FromMilliseconds(25 << attempt)).ConfigureAwait(false);
            }
        }
    }

    private async Task PutWholeAsync(CancellationToken limit)
    {
        var bytes = source.Read(0, (int)source.LengthBytes);
        var request = new PutObjectRequest { BucketName = bucket, Key = key, InputStream = new MemoryStream(bytes, writable: false), IfNoneMatch = _condition, UseChunkEncoding = false };
        await client.PutObjectAsync(request, limit).ConfigureAwait(false);
        statistics.CountSent(bytes.Length);
    }

    private async Task PutPartsAsync(CancellationToken limit)
    {
        var upload = await client.InitiateMultipartUploadAsync(new InitiateMultipartUploadRequest { BucketName = bucket, Key = key }, limit).ConfigureAwait(false);
        try
        {
            var parts = new PartETag[(source.LengthBytes + PageStoreLimits.RemotePartBytes - 1) / PageStoreLimits.RemotePartBytes];
            var parallel = new ParallelOptions { MaxDegreeOfParallelism = PageStoreLimits.RemotePartsAtOnce, CancellationToken = limit };
            await Parallel.ForAsync(0, parts.Length, parallel, async (i, stop) => parts[i] = await PutPartAsync(upload.UploadId, i, stop).ConfigureAwait(false)).ConfigureAwait(false);
            await Conditionally(() => client.CompleteMultipartUploadAsync(
                new CompleteMultipartUploadRequest { BucketName = bucket, Key = key, UploadId = upload.UploadId, PartETags = [.. parts], IfNoneMatch = _condition }, limit)).ConfigureAwait(false);
        }
        catch
        {
            await AbortAsync(upload.UploadId).ConfigureAwait(false);
            throw;
        }
    }

    private async Task<PartETag> PutPartAsync(string uploadId, int index, CancellationToken limit)
    {
        var offset = (long)index * PageStoreLimits.RemotePartBytes;
        var bytes = source.Read(offset, (int)Math.Min(PageStoreLimits.RemotePartBytes, source.LengthBytes - offset));
        var request = new UploadPartRequest { BucketName = bucket, Key = key, UploadId = uploadId, PartNumber = index + 1, InputStream = new MemoryStream(bytes, writable: false), UseChunkEncoding = false };
        var stored = await client.UploadPartAsync(request, limit).ConfigureAwait(false);
        statistics.CountSent(bytes.Length);
        return new PartETag(index + 1, stored.ETag);
    }

    private async Task AbortAsync(string uploadId)
    {
        // Its own time: the upload's may be over.
        using var limit = new CancellationTokenSource(times.Operation);
        try
        {
            await client.AbortMultipartUploadAsync(new AbortMultipartUploadRequest { BucketName = bucket, Key = key, UploadId = uploadId }, limit.Token).ConfigureAwait(false);
        }
        catch (Exception cause) when (S3Failures.IsRefusal(cause))
        {
            // What made the upload fail is told; a server that can be reached no more keeps the parts until the bucket's own rule removes them.
        }
    }
}
