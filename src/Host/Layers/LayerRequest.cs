using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Host.Layers;

/// <summary>What to make a layer of.</summary>
public sealed record LayerRequest
{
    /// <summary>Of the new snapshot.</summary>
    public required string Name { get; init; }

    /// <summary>The snapshot that it is made of: a name or digest.</summary>
    public required string Parent { get; init; }

    /// <summary>A JSON value that the clone reads from its channel, and prepares for; null is JSON null.</summary>
    public string? PayloadJson { get; init; }

    /// <summary>How the clone shows that it has got ready once more; null for the way in which its parent did.</summary>
    public ReadinessSpec? Ready { get; init; }

    /// <summary>How long it may take to get ready.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Leave the clone the host's clocks, on hosts that cannot set them.</summary>
    public bool HostClocks { get; init; }
}
