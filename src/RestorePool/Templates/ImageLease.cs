using Snapshots.Images;

namespace Snapshots.RestorePool.Templates;

/// <summary>A use of an open image, which is closed with its last use. Thread-safe.</summary>
internal sealed class ImageLease : IDisposable
{
    private readonly Shared _shared;
    private int _ended;

    private ImageLease(Shared shared) => _shared = shared;

    public SnapshotImage Image => _shared.Image;

    /// <summary>Opens the image of <paramref name="source"/>.</summary>
    /// <exception cref="Exception">What opening it threw.</exception>
    public static ImageLease Open(TemplateSource source) => new(new Shared(source, source.Open()) { Uses = 1 });

    /// <summary>Another use of the same image.</summary>
    public ImageLease Again()
    {
        lock (_shared)
        {
            ObjectDisposedException.ThrowIf(_shared.Uses == 0, this);
            _shared.Uses++;
            return new ImageLease(_shared);
        }
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _ended, 1) != 0)
            return;
        lock (_shared)
        {
            if (--_shared.Uses > 0)
                return;
        }
        _shared.Source.Close(_shared.Image);
    }

    private sealed class Shared(TemplateSource source, SnapshotImage image)
    {
        public TemplateSource Source { get; } = source;

        public SnapshotImage Image { get; } = image;

        public int Uses { get; set; }
    }
}
