using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>http:PORT/PATH</c>: a GET on the loopback address of the worker's network namespace is answered with a success status.</summary>
public sealed class HttpReadiness(int port, string path) : ReadinessSpec
{
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(5);

    public override Images.V1.Readiness ToImage() => new() { Http = new HttpProbe { Port = (uint)port, Path = path } };

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"http:{port}{path}: waits for a success status");

    protected override bool WaitCore(IWorker worker, Deadline deadline)
    {
        // No connection is kept: an established one would stand against the snapshot.
        using var client = new HttpClient(new SocketsHttpHandler { ConnectCallback = (context, token) => ConnectAsync(worker, context, token) });
        client.DefaultRequestHeaders.ConnectionClose = true;
        var uri = new Uri(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}{path}"));
        do
        {
            if (TryGet(client, uri, deadline))
                return AwaitNoConnection(worker, deadline);
        }
        while (deadline.Pause(s_interval, worker.PidFd));
        return false;
    }

    private static bool TryGet(HttpClient client, Uri uri, Deadline deadline)
    {
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, uri);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(deadline.Cancellation);
            limit.CancelAfter(deadline.Left);
            using var response = client.Send(request, limit.Token);
            return response.IsSuccessStatusCode;
        }
        catch (Exception notYet) when (notYet is HttpRequestException or IOException or OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>The worker closes its side of the probe's connection in its own time; a freeze before that would meet an established connection.</summary>
    private bool AwaitNoConnection(IWorker worker, Deadline deadline)
    {
        while (HasConnection(worker.HostPid))
        {
            if (!deadline.Pause(s_interval, worker.PidFd))
                return false;
        }
        return true;
    }

    private bool HasConnection(int pid)
    {
        const string Established = "01", CloseWait = "08";
        var local = string.Create(CultureInfo.InvariantCulture, $":{port:X4}");
        return new[] { "tcp", "tcp6" }
            .SelectMany(table => File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/net/{table}")).Skip(1))
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Any(fields => fields[3] is Established or CloseWait && fields[1].EndsWith(local, StringComparison.Ordinal));
    }

    private static ValueTask<Stream> ConnectAsync(IWorker worker, SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        _ = cancellation; // Connecting to loopback either succeeds or is refused at once.
        var socket = NetworkNamespace.RunIn(worker.NetworkNamespaceHandle, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        try
        {
            socket.Connect(new IPEndPoint(IPAddress.Loopback, context.DnsEndPoint.Port));
            return ValueTask.FromResult<Stream>(new NetworkStream(socket, ownsSocket: true));
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
