using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Snapshots.PageStore.Tests.Remote;

/// <summary>A request as it came in.</summary>
internal sealed record FakeRequest(string Method, string Key, IReadOnlyDictionary<string, string> Query, IReadOnlyDictionary<string, string> Headers, byte[] Body);

/// <summary>What goes wrong with one answer; all that is null or false is as it should be.</summary>
internal sealed record Fault
{
    public int? Status { get; init; }

    public string Code { get; init; } = "InternalError";

    /// <summary>So many bytes of the body are sent, then the connection is cut.</summary>
    public int? CutAfter { get; init; }

    /// <summary>The connection is cut without a word.</summary>
    public bool Hangup { get; init; }

    /// <summary>Nothing is ever said.</summary>
    public bool Silence { get; init; }

    /// <summary>Changes the body on its way.</summary>
    public Action<byte[]>? Spoil { get; init; }

    /// <summary>In place of the true Content-Range.</summary>
    public string? ContentRange { get; init; }
}

/// <summary>
/// The calls of S3 that the page store uses, in this process, in memory, with a fault wherever a test wants one: what a real server does only on bad days.
/// One bucket, whose name does not matter.
/// </summary>
internal sealed class FakeS3Server : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _end = new();
    private readonly ConcurrentDictionary<string, byte[]> _objects = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ConcurrentDictionary<int, byte[]>> _uploads = new(StringComparer.Ordinal);
    private readonly Task _accepting;
    private int _numbers;

    public FakeS3Server()
    {
        _listener.Start();
        Endpoint = $"http://{_listener.LocalEndpoint}";
        _accepting = AcceptAsync();
    }

    public string Endpoint { get; }

    public ConcurrentDictionary<string, byte[]> Objects => _objects;

    /// <summary>Multipart uploads that have neither been completed nor aborted.</summary>
    public int OpenUploads => _uploads.Count;

    /// <summary>Every request so far.</summary>
    public ConcurrentQueue<FakeRequest> Requests { get; } = new();

    public Func<FakeRequest, Fault?> Faults { get; set; } = _ => null;

    /// <summary>From now on nobody listens there.</summary>
    public void Stop()
    {
        _end.Cancel();
        _listener.Stop();
        _accepting.Wait();
    }

    public void Dispose()
    {
        Stop();
        _listener.Dispose();
        _end.Dispose();
    }

    private async Task AcceptAsync()
    {
        var connections = new List<Task>();
        try
        {
            while (true)
                connections.Add(ServeAsync(await _listener.AcceptTcpClientAsync(_end.Token)));
        }
        catch (Exception ended) when (ended is OperationCanceledException or ObjectDisposedException or SocketException)
        {
            await Task.WhenAll(connections);
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using var connection = client;
        var stream = client.GetStream();
        try
        {
            while (await ReadRequestAsync(stream) is { } request)
            {
                Requests.Enqueue(request);
                if (!await AnswerAsync(stream, request, Faults(request)))
                    return;
            }
        }
        catch (Exception gone) when (gone is IOException or OperationCanceledException)
        {
            // The client went, or the test ends.
        }
    }

    private async Task<FakeRequest?> ReadRequestAsync(NetworkStream stream)
    {
        var head = new List<byte>();
        var one = new byte[1];
        while (head.Count < 4 || !(head[^4] == '\r' && head[^3] == '\n' && head[^2] == '\r' && head[^1] == '\n'))
        {
            if (await stream.ReadAsync(one, _end.Token) == 0)
                return null;
            head.Add(one[0]);
        }
        var lines = Encoding.ASCII.GetString([.. head]).Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        var headers = lines.Skip(1).Select(line => line.Split(": ", 2)).ToDictionary(pair => pair[0], pair => pair[1], StringComparer.OrdinalIgnoreCase);
        if (headers.ContainsKey("Expect"))
            await stream.WriteAsync("HTTP/1.1 100 Continue\r\n\r\n"u8.ToArray(), _end.Token);
        var body = new byte[headers.TryGetValue("Content-Length", out var length) ? int.Parse(length, CultureInfo.InvariantCulture) : 0];
        await stream.ReadExactlyAsync(body, _end.Token);
        var target = lines[0].Split(' ');
        var url = target[1].Split('?', 2);
        var query = (url.Length > 1 ? url[1] : "").Split('&', StringSplitOptions.RemoveEmptyEntries).Select(pair => pair.Split('=', 2))
            .ToDictionary(pair => pair[0], pair => pair.Length > 1 ? Uri.UnescapeDataString(pair[1]) : "", StringComparer.Ordinal);
        var key = Uri.UnescapeDataString(url[0].TrimStart('/'));
        return new FakeRequest(target[0], key.Contains('/', StringComparison.Ordinal) ? key[(key.IndexOf('/', StringComparison.Ordinal) + 1)..] : "", query, headers, body);
    }

    /// <returns>False when the connection must not be used again.</returns>
    private async Task<bool> AnswerAsync(NetworkStream stream, FakeRequest request, Fault? fault)
    {
        if (fault?.Silence == true)
            await Task.Delay(Timeout.Infinite, _end.Token);
        if (fault?.Hangup == true)
            return false;
        var answer = fault?.Status is { } status ? Error(status, fault.Code) : Handle(request);
        var body = (byte[])answer.Body.Clone();
        fault?.Spoil?.Invoke(body);
        var head = new StringBuilder($"HTTP/1.1 {answer.Status} X\r\nContent-Length: {answer.Length ?? body.Length}\r\n");
        foreach (var (name, value) in answer.Headers)
            head.Append(CultureInfo.InvariantCulture, $"{name}: {(name == "Content-Range" && fault?.ContentRange is { } other ? other : value)}\r\n");
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()), _end.Token);
        await stream.WriteAsync(body.AsMemory(0, Math.Min(body.Length, fault?.CutAfter ?? body.Length)), _end.Token);
        return fault?.CutAfter is null;
    }

    private FakeAnswer Handle(FakeRequest request) => request.Method switch
    {
        "GET" when request.Key.Length == 0 => List(request),
        "GET" => Get(request),
        "HEAD" => _objects.TryGetValue(request.Key, out var found) ? new FakeAnswer(200, []) { Headers = [("ETag", ETag(found))], Length = found.Length } : new FakeAnswer(404, []),
        "PUT" when request.Query.TryGetValue("uploadId", out var upload) => PutPart(request, upload),
        "PUT" => Put(request.Key, request.Body, request),
        "POST" when request.Query.ContainsKey("uploads") => BeginUpload(request),
        "POST" when request.Query.TryGetValue("uploadId", out var upload) => CompleteUpload(request, upload),
        "DELETE" when request.Query.TryGetValue("uploadId", out var upload) => new FakeAnswer(_uploads.TryRemove(upload, out _) ? 204 : 404, []),
        "DELETE" => Delete(request.Key),
        _ => Error(501, "NotImplemented"),
    };

    private FakeAnswer Get(FakeRequest request)
    {
        if (!_objects.TryGetValue(request.Key, out var found))
            return Error(404, "NoSuchKey");
        if (request.Headers.TryGetValue("If-Match", out var tag) && tag != ETag(found))
            return Error(412, "PreconditionFailed");
        if (!request.Headers.TryGetValue("Range", out var range))
            return new FakeAnswer(200, found) { Headers = [("ETag", ETag(found))] };
        var bounds = range["bytes=".Length..].Split('-').Select(long.Parse).ToArray();
        if (bounds[0] >= found.Length)
            return Error(416, "InvalidRange");
        var end = Math.Min(bounds[1], found.Length - 1);
        return new FakeAnswer(206, found[(int)bounds[0]..(int)(end + 1)]) { Headers = [("ETag", ETag(found)), ("Content-Range", $"bytes {bounds[0]}-{end}/{found.Length}")] };
    }

    private FakeAnswer List(FakeRequest request)
    {
        var prefix = request.Query.GetValueOrDefault("prefix", "");
        var after = request.Query.GetValueOrDefault("continuation-token", "");
        var most = int.Parse(request.Query.GetValueOrDefault("max-keys", "1000"), CultureInfo.InvariantCulture);
        var keys = _objects.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal) && string.CompareOrdinal(key, after) > 0).Order(StringComparer.Ordinal).Take(most + 1).ToList();
        var more = keys.Count > most;
        var xml = new StringBuilder($"<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><IsTruncated>{(more ? "true" : "false")}</IsTruncated>");
        if (more)
            xml.Append(CultureInfo.InvariantCulture, $"<NextContinuationToken>{keys[most - 1]}</NextContinuationToken>");
        foreach (var key in keys.Take(most))
            xml.Append(CultureInfo.InvariantCulture, $"<Contents><Key>{key}</Key><Size>{(_objects.TryGetValue(key, out var found) ? found.Length : 0)}</Size></Contents>");
        return new FakeAnswer(200, Encoding.UTF8.GetBytes(xml.Append("</ListBucketResult>").ToString()));
    }

    private FakeAnswer Put(string key, byte[] contents, FakeRequest request)
    {
        if (!request.Headers.ContainsKey("If-None-Match"))
            _objects[key] = contents;
        else if (!_objects.TryAdd(key, contents))
            return Error(412, "PreconditionFailed");
        return new FakeAnswer(200, []) { Headers = [("ETag", ETag(contents))] };
    }

    private FakeAnswer Delete(string key)
    {
        _objects.TryRemove(key, out _);
        return new FakeAnswer(204, []);
    }

    private FakeAnswer BeginUpload(FakeRequest request)
    {
        var id = $"upload-{Interlocked.Increment(ref _numbers)}";
        _uploads[id] = new ConcurrentDictionary<int, byte[]>();
        return new FakeAnswer(200, Encoding.UTF8.GetBytes($"<InitiateMultipartUploadResult><Key>{request.Key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"));
    }

    private FakeAnswer PutPart(FakeRequest request, string upload)
    {
        if (!_uploads.TryGetValue(upload, out var parts))
            return Error(404, "NoSuchUpload");
        parts[int.Parse(request.Query["partNumber"], CultureInfo.InvariantCulture)] = request.Body;
        return new FakeAnswer(200, []) { Headers = [("ETag", ETag(request.Body))] };
    }

    private FakeAnswer CompleteUpload(FakeRequest request, string upload)
    {
        if (!_uploads.TryGetValue(upload, out var parts))
            return Error(404, "NoSuchUpload");
        var stored = Put(request.Key, [.. parts.OrderBy(part => part.Key).SelectMany(part => part.Value)], request);
        if (stored.Status != 200)
            return stored;
        _uploads.TryRemove(upload, out _);
        return new FakeAnswer(200, Encoding.UTF8.GetBytes($"<CompleteMultipartUploadResult><Key>{request.Key}</Key><ETag>{stored.Headers[0].Value}</ETag></CompleteMultipartUploadResult>"));
    }

    private static FakeAnswer Error(int status, string code) =>
        new(status, Encoding.UTF8.GetBytes($"<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"));

    private static string ETag(byte[] contents) => $"\"{System.IO.Hashing.XxHash128.HashToUInt128(contents):x}\"";

    private sealed record FakeAnswer(int Status, byte[] Body)
    {
        public (string Name, string Value)[] Headers { get; init; } = [];

        /// <summary>For HEAD, which tells of a body that it does not send.</summary>
        public long? Length { get; init; }
    }
}
