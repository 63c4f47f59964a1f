using Snapshots.AddressSpace;
using Snapshots.Images;

namespace Snapshots.Snapshotter;

/// <summary>What a clone that is to become a layer was forked from. Pages that it still shares with its template are not read: the parent's image has them.</summary>
public sealed record LayerBase
{
    /// <summary>The image of the snapshot that the process is a clone of; open until the freeze is over.</summary>
    public required SnapshotImage Parent { get; init; }

    /// <summary>The template that it was forked from, in our PID namespace: it runs nothing, and must not end before the freeze is over.</summary>
    public required int TemplatePid { get; init; }

    /// <summary>Pages of the template that are not as in the parent's image.</summary>
    public required IReadOnlyList<AddressRange> UnlikeImage { get; init; }
}
