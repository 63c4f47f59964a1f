using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Snapshotter.Launching;
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
    /// Leave the process running after the snapshot instead of ending it. A worker that we start then comes back as <see cref="CreatedImage.Worker"/>:
    /// its sandbox, its stdio and its channel are its owner's, and it ends with them.
    /// </summary>
    public bool KeepRunning { get; init; }
}

/// <summary>Steps of a creation, for progress.</summary>
public enum CreatePhase
{
    /// <summary>The parent of a layer is being brought back to memory, and a clone of it started.</summary>
    Cloning,
    Launching,
    WaitingReady,
    Freezing,
    Published,
}

/// <summary>A published snapshot.</summary>
/// <param name="Worker">The worker that was started for it and is to be kept running; the caller's to dispose of, which ends it. Null in every other case.</param>
public sealed record CreatedImage(SnapshotDigest Digest, Manifest Manifest, LaunchedWorker? Worker = null);
