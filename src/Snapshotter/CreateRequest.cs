using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Snapshotter;

/// <summary>What to make a snapshot of: a command to start, or a process that runs already.</summary>
public sealed record CreateRequest
{
    /// <summary>Name in the store.</summary>
    public required string Name { get; init; }

    /// <summary>A running process in our PID namespace; null to start <see cref="Command"/>.</summary>
    public int? Pid { get; init; }

    public IReadOnlyList<string> Command { get; init; } = [];

    /// <summary>How the worker shows that it is warm; needed with <see cref="Command"/>.</summary>
    public ReadinessSpec? Ready { get; init; }

    /// <summary>How long it may take to become ready.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>The worker's whole environment, <c>K=V</c> each.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    public string WorkingDirectory { get; init; } = "/";

    /// <summary>
    /// Start the worker with a randomised address space (personality(2)). Off: clones of one image lie alike in any case, and workers of one kind that lie
    /// alike share more pages in the store.
    /// </summary>
    public bool Aslr { get; init; }

    /// <summary>
    /// Leave the process named by <see cref="Pid"/> running after the snapshot instead of ending it. Not for a worker that we start: its sandbox,
    /// its stdio and its channel are ours and end with us, so it would run on with nobody who could reach it; a clone of it can be reached.
    /// </summary>
    public bool KeepRunning { get; init; }
}

/// <summary>Steps of a creation, for progress.</summary>
public enum CreatePhase
{
    Launching,
    WaitingReady,
    Freezing,
    Published,
}

/// <summary>A published snapshot.</summary>
public sealed record CreatedImage(SnapshotDigest Digest, Manifest Manifest);
