using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text;
using Grpc.Core;
using Grpc.Net.Client;
using Snapshots.Client.V1;

namespace Snapshots.Client;

/// <summary>Calls the agent of one run directory. Thread-safe; every failure is a <see cref="FarmException"/>.</summary>
public sealed class FarmClient : IDisposable
{
    private readonly string _socketPath;
    private readonly GrpcChannel _channel;
    private readonly Farm.FarmClient _calls;

    /// <summary>Does not connect yet: the first call does.</summary>
    /// <param name="socketPath">The agent's socket; see <see cref="FarmContract.SocketName"/>.</param>
    public FarmClient(string socketPath)
    {
        if (Encoding.UTF8.GetByteCount(socketPath) > FarmContract.MaxSocketPathBytes)
            throw new ArgumentException($"{socketPath}: the path of a unix socket has at most {FarmContract.MaxSocketPathBytes} bytes; choose a shorter run directory", nameof(socketPath));
        _socketPath = socketPath;
        var handler = new SocketsHttpHandler { ConnectCallback = (_, cancellation) => ConnectAsync(socketPath, cancellation), UseProxy = false };
        _channel = GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
        {
            HttpHandler = handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = FarmContract.MaxMessageBytes,
            MaxSendMessageSize = FarmContract.MaxMessageBytes,
        });
        _calls = new Farm.FarmClient(_channel);
    }

    public Task<PingReply> PingAsync(CancellationToken cancellation = default) =>
        Unary(_calls.PingAsync(new PingRequest(), cancellationToken: cancellation));

    /// <summary>The ping, or null when no agent listens.</summary>
    public async Task<PingReply?> TryPingAsync(CancellationToken cancellation = default)
    {
        try
        {
            return await PingAsync(cancellation).ConfigureAwait(false);
        }
        catch (FarmException e) when (e.Code == FarmErrorCode.Unavailable)
        {
            return null;
        }
    }

    public IAsyncEnumerable<CloneEvent> CloneAsync(CloneRequest request, CancellationToken cancellation = default) =>
        Stream(_calls.Clone(request, cancellationToken: cancellation), cancellation);

    public async Task<IReadOnlyList<CloneStatus>> ListClonesAsync(bool includeEnded, CancellationToken cancellation = default) =>
        (await Unary(_calls.ListClonesAsync(new ListClonesRequest { IncludeEnded = includeEnded }, cancellationToken: cancellation)).ConfigureAwait(false)).Clones;

    /// <summary>Running clones with their memory; also remembered ones that have ended when <paramref name="includeEnded"/>.</summary>
    public async Task<IReadOnlyList<CloneStatus>> ListClonesWithMemoryAsync(bool includeEnded, CancellationToken cancellation = default) =>
        (await Unary(_calls.ListClonesAsync(new ListClonesRequest { IncludeEnded = includeEnded, IncludeMemory = true }, cancellationToken: cancellation)).ConfigureAwait(false)).Clones;

    /// <param name="digest">Of one snapshot; null for all.</param>
    public Task<ListTemplatesReply> ListTemplatesAsync(string? digest, CancellationToken cancellation = default) =>
        Unary(_calls.ListTemplatesAsync(new ListTemplatesRequest { Digest = digest ?? string.Empty }, cancellationToken: cancellation));

    public Task<KillReply> KillAsync(KillRequest request, CancellationToken cancellation = default) =>
        Unary(_calls.KillAsync(request, cancellationToken: cancellation));

    public IAsyncEnumerable<LogChunk> LogsAsync(string id, bool follow, CancellationToken cancellation = default) =>
        Stream(_calls.Logs(new LogsRequest { Id = id, Follow = follow }, cancellationToken: cancellation), cancellation);

    public Task ShutdownAsync(CancellationToken cancellation = default) =>
        Unary(_calls.ShutdownAsync(new ShutdownRequest(), cancellationToken: cancellation));

    public void Dispose() => _channel.Dispose();

    private static async ValueTask<Stream> ConnectAsync(string socketPath, CancellationToken cancellation)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(socketPath), cancellation).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private async Task<T> Unary<T>(AsyncUnaryCall<T> call)
    {
        try
        {
            return await call.ResponseAsync.ConfigureAwait(false);
        }
        catch (RpcException e)
        {
            throw FarmException.From(e, _socketPath);
        }
    }

    private async IAsyncEnumerable<T> Stream<T>(AsyncServerStreamingCall<T> call, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var _ = call;
        while (await MoveNext(call.ResponseStream, cancellation).ConfigureAwait(false))
            yield return call.ResponseStream.Current;
    }

    private async Task<bool> MoveNext<T>(IAsyncStreamReader<T> reader, CancellationToken cancellation)
    {
        try
        {
            return await reader.MoveNext(cancellation).ConfigureAwait(false);
        }
        catch (RpcException e)
        {
            throw FarmException.From(e, _socketPath);
        }
    }
}
