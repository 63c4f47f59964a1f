using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.RestorePool.Clones;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Host.Layers;

/// <summary>A clone that is watched as a worker is, until it is ready. <see cref="Dispose"/> kills it with everything it started.</summary>
internal sealed class CloneWorker : IWorker, IDisposable
{
    private readonly Clone _clone;

    /// <param name="clone">Becomes the worker's.</param>
    public CloneWorker(Clone clone)
    {
        _clone = clone;
        NetworkNamespaceHandle = clone.OpenNetworkNamespace();
        Output = new WorkerOutput(clone.Stdout ?? Nothing(), "stdout");
        Errors = new WorkerOutput(clone.Stderr ?? Nothing(), "stderr");
        Lines = clone.Channel is { } channel ? new ChannelLines(channel, clone.PidFd) : null;
    }

    public int HostPid => _clone.HostPid;

    public SafeFileHandle PidFd => _clone.PidFd;

    public SafeFileHandle NetworkNamespaceHandle { get; }

    public WorkerOutput Output { get; }

    public WorkerOutput Errors { get; }

    public ChannelLines? Lines { get; }

    public ExitStatus? TryGetExit() => _clone.TryGetExit();

    public void Dispose()
    {
        // The readers come to their end when the last process is gone that could write.
        _clone.Kill();
        Output.Dispose();
        Errors.Dispose();
        NetworkNamespaceHandle.Dispose();
        _clone.Dispose();
    }

    private static SafeFileHandle Nothing() => File.OpenHandle("/dev/null");
}
