using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;

namespace Snapshots.Snapshotter.Launching;

/// <summary>A process that is waited for until it is ready to be frozen: a worker that was launched, or a clone of a snapshot.</summary>
public interface IWorker
{
    /// <summary>In our PID namespace.</summary>
    int HostPid { get; }

    /// <summary>Readable when it has ended.</summary>
    SafeFileHandle PidFd { get; }

    /// <summary>Its network namespace.</summary>
    SafeFileHandle NetworkNamespaceHandle { get; }

    /// <summary>What it wrote to stdout.</summary>
    WorkerOutput Output { get; }

    /// <summary>What it wrote to stderr.</summary>
    WorkerOutput Errors { get; }

    /// <summary>What it writes to its channel; null when it has none.</summary>
    ChannelLines? Lines { get; }

    /// <summary>How it ended; null while it runs.</summary>
    ExitStatus? TryGetExit();
}
