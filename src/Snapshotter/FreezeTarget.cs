using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter;

/// <summary>What is to be frozen.</summary>
public sealed record FreezeTarget
{
    /// <summary>In our PID namespace; it must not be reaped while the freeze runs.</summary>
    public required int Pid { get; init; }

    /// <summary>Descriptors that each clone gets its own of, by the object behind them.</summary>
    public required IReadOnlyDictionary<ObjectIdentity, ExternalRole> Externals { get; init; }

    /// <summary>Let the target run on after the freeze. Otherwise it is killed in its stop once the image is published, without running another instruction.</summary>
    public bool KeepRunning { get; init; }

    /// <summary>What it was forked from, when its image is to be a layer of that: made by a writer with the same parent. Null stores every page.</summary>
    public LayerBase? Base { get; init; }

    /// <summary>With host, launch and readiness filled in; the freeze fills the rest.</summary>
    public required Manifest Manifest { get; init; }
}

/// <summary>A frozen process.</summary>
/// <param name="Manifest">As it was published.</param>
/// <param name="Digest">Of the published image.</param>
/// <param name="Stopped">How long no instruction of the target ran.</param>
public sealed record FreezeResult(Manifest Manifest, SnapshotDigest Digest, TimeSpan Stopped);
