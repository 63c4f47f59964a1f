using System.Net.Sockets;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>notify</c>: the worker sends <c>READY=1</c> to <c>NOTIFY_SOCKET</c> (sd_notify(3)). The socket lives from construction until the wait is over.</summary>
public sealed class NotifyReadiness : ReadinessSpec
{
    private readonly string _path;

    /// <param name="path">The <c>NOTIFY_SOCKET</c> of a worker that has one already; null for a new one.</param>
    public NotifyReadiness(string? path = null) => _path = path ?? Path.Combine(Path.GetTempPath(), $"snapshots-notify-{Guid.NewGuid():N}");

    public override string? NotifySocket => _path;

    public override Images.V1.Readiness ToImage() => new() { Notify = true };

    public override string ToString() => "notify: waits for READY=1 on NOTIFY_SOCKET";

    /// <summary>Binds the socket; must happen before the worker starts.</summary>
    public Socket Bind()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(_path));
        return socket;
    }

    /// <summary>Bound by <see cref="Bind"/>, by whoever launches the worker.</summary>
    public Socket? Socket { get; set; }

    protected override bool WaitCore(IWorker worker, Deadline deadline)
    {
        var socket = Socket ?? throw new InvalidOperationException("the notify socket must be bound before the worker is started");
        using var readable = new SafeFileHandle(socket.Handle, ownsHandle: false);
        var message = new byte[4096];
        while (deadline.WaitReadable(readable, worker.PidFd))
        {
            var text = Encoding.UTF8.GetString(message, 0, socket.Receive(message));
            if (text.Split('\n').Contains("READY=1", StringComparer.Ordinal))
                return true;
        }
        return false;
    }
}
