using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Images.Validation;

namespace Snapshots.Images;

/// <summary>
/// Makes one image: pages first, then <see cref="Commit"/> with the manifest. Until then nothing of it can be seen in the store; disposing without
/// a commit removes what was written. Not thread-safe.
/// </summary>
public sealed class ImageWriter : IPageSink, IDisposable
{
    private readonly ImageStore _store;
    private readonly IPageWriter _pages;
    private bool _committed;

    internal ImageWriter(ImageStore store, IPageWriter pages)
    {
        _store = store;
        _pages = pages;
    }

    /// <summary>Makes ready to take about <paramref name="bytes"/> without waiting for memory or the disk, as far as limits allow.</summary>
    public void Prepare(ulong bytes) => _pages.Prepare(bytes);

    /// <inheritdoc/>
    public void Append(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents) => _pages.Append(pageIndex, pages, extents);

    /// <inheritdoc/>
    public void AppendFromParent(ulong pageIndex, ulong pageCount, ulong parentOffset, IList<PageExtent> extents) =>
        _pages.AppendFromParent(pageIndex, pageCount, parentOffset, extents);

    /// <inheritdoc/>
    public void AppendWithZeros(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents) => _pages.AppendWithZeros(pageIndex, pages, extents);

    /// <summary>
    /// Completes <paramref name="manifest"/> (format version, pages), checks it, and makes the image visible under <paramref name="name"/>;
    /// an image that had the name loses it. Everything is on disk when this returns. The writer is of no use afterwards.
    /// </summary>
    /// <exception cref="ImageException">InvalidName; Malformed, LimitExceeded: the manifest breaks a rule of the format; WriteFailed.</exception>
    public SnapshotDigest Commit(string name, Manifest manifest)
    {
        ObjectDisposedException.ThrowIf(_committed, this);
        StoreLayout.CheckName(name);
        manifest.Pages = _pages.Finish();
        manifest.FormatVersion = manifest.Pages.Map is null ? ImageLimits.PageFileVersion : ImageLimits.FormatVersion;
        ManifestValidator.Validate(manifest, $"the manifest of \"{name}\"");
        var bytes = manifest.ToByteArray();
        if (bytes.Length > ImageLimits.MaxManifestBytes)
            throw new ImageException(ImageFailure.LimitExceeded, $"the manifest of \"{name}\" has {bytes.Length} bytes; at most {ImageLimits.MaxManifestBytes} are allowed");
        var digest = SnapshotDigest.Of(bytes);
        _store.Publish(name, digest, bytes, _pages);
        _committed = true;
        return digest;
    }

    public void Dispose()
    {
        _pages.Dispose();
        _committed = true;
    }
}
