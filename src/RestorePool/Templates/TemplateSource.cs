using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Templates;

/// <summary>A snapshot as an engine is asked for it: which one, and how to open its image whenever its template has to be built.</summary>
public sealed class TemplateSource
{
    private readonly bool _ownsImages;

    /// <summary>Images that <paramref name="open"/> returns belong to the engine, which closes each together with the template that was built from it.</summary>
    /// <param name="name">For messages and listings.</param>
    /// <param name="digest">Of the snapshot; templates are found by it.</param>
    /// <param name="open">Called by the thread that builds the template, and again when it is built anew; what it throws goes to whoever asked.</param>
    public TemplateSource(string name, string digest, Func<SnapshotImage> open)
        : this(name, digest, open, ownsImages: true)
    {
    }

    private TemplateSource(string name, string digest, Func<SnapshotImage> open, bool ownsImages)
    {
        Name = name;
        Digest = digest;
        Open = open;
        _ownsImages = ownsImages;
    }

    public string Name { get; }

    public string Digest { get; }

    /// <summary>What clones of it were seen to touch; null, or what it returns, when that is not known and is to be learned.</summary>
    public Func<WorkingSet?>? ReadWorkingSet { get; init; }

    /// <summary>Keeps what was learned; called by the thread that noted the last answer. Must not throw.</summary>
    public Action<WorkingSet>? SaveWorkingSet { get; init; }

    /// <summary>
    /// Where the parent of a layer is, by what the layer's manifest says of it: the layer's template is then a fork of the parent's. Null, or a source that
    /// cannot be opened, has it built alone.
    /// </summary>
    public Func<LayerOrigin, TemplateSource>? ParentOf { get; init; }

    internal Func<SnapshotImage> Open { get; }

    /// <summary>An image that stays its owner's; it must be open while the engine is asked for it.</summary>
    public static TemplateSource Of(SnapshotImage image)
    {
        var digest = image.Digest.ToString();
        return new TemplateSource(image.Name ?? digest, digest, () => image, ownsImages: false);
    }

    internal void Close(SnapshotImage? image)
    {
        if (_ownsImages)
            image?.Dispose();
    }
}
