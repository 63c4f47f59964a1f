using System.Text;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Launching;

/// <summary>A worker that was started to be frozen. <see cref="Dispose"/> kills it with everything it started.</summary>
public sealed class LaunchedWorker : IWorker, IDisposable
{
    private readonly SafeFileHandle _stdin;

    internal LaunchedWorker(
        SpawnedProcess process, Sandbox sandbox, IReadOnlyDictionary<ObjectIdentity, ExternalRole> externals,
        SafeFileHandle stdin, SafeFileHandle stdout, SafeFileHandle stderr, SafeFileHandle channel)
    {
        Process = process;
        Sandbox = sandbox;
        Externals = externals;
        _stdin = stdin;
        Output = new WorkerOutput(stdout, "stdout");
        Errors = new WorkerOutput(stderr, "stderr");
        Channel = channel;
        Lines = new ChannelLines(channel, process.PidFd);
        NetworkNamespaceHandle = sandbox.OpenNetworkNamespace();
    }

    public SpawnedProcess Process { get; }

    /// <inheritdoc/>
    public int HostPid => Process.HostPid;

    /// <inheritdoc/>
    public SafeFileHandle PidFd => Process.PidFd;

    public Sandbox Sandbox { get; }

    /// <summary>Which of its descriptors each clone gets its own of.</summary>
    public IReadOnlyDictionary<ObjectIdentity, ExternalRole> Externals { get; }

    /// <summary>What it wrote to stdout.</summary>
    public WorkerOutput Output { get; }

    /// <summary>What it wrote to stderr.</summary>
    public WorkerOutput Errors { get; }

    /// <summary>Our end of its channel.</summary>
    public SafeFileHandle Channel { get; }

    /// <summary>What it writes there, line by line.</summary>
    public ChannelLines Lines { get; }

    /// <summary>Its network namespace.</summary>
    public SafeFileHandle NetworkNamespaceHandle { get; }

    /// <summary>Writes the line that a clone would be sent: used to measure a cold start until its first answer.</summary>
    public void SendRequest(string id, string? payloadJson)
    {
        var line = $"{{\"id\":{JsonSerializer.Serialize(id)},\"generation\":0,\"payload\":{payloadJson ?? "null"},\"env\":{{}}}}\n";
        var errno = SocketMessage.Send(Channel, Encoding.UTF8.GetBytes(line));
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, $"channel of worker {Process.HostPid}");
    }

    /// <summary>The next line from the channel; null when the worker closed it or ended, or the time-out passed.</summary>
    public string? ReadChannelLine(TimeSpan timeout) => Lines.Read(timeout);

    /// <inheritdoc/>
    public ExitStatus? TryGetExit() => Process.TryGetExit();

    public void Dispose()
    {
        Process.Kill();
        Sandbox.Kill();
        Process.Dispose();
        Sandbox.Dispose();
        _stdin.Dispose();
        Channel.Dispose();
        NetworkNamespaceHandle.Dispose();
        Output.Dispose();
        Errors.Dispose();
    }
}
