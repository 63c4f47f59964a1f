using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>Stores the pages of one image in the making. Not thread-safe. Disposing before <see cref="Publish"/> leaves nothing behind.</summary>
public interface IPageWriter : IPageSink, IDisposable
{
    /// <summary>Makes ready to take about <paramref name="bytes"/> without waiting for memory or the disk, as far as limits allow.</summary>
    void Prepare(ulong bytes);

    /// <summary>Returns once all pages are on disk, not yet visible, and says how they are found again.</summary>
    /// <exception cref="ImageException">WriteFailed, LimitExceeded.</exception>
    PageBlob Finish();

    /// <summary>Makes them visible. The caller holds the store's lock and publishes the manifest next.</summary>
    /// <exception cref="IOException">The disk refused; what became visible is unreachable and falls to the next collection.</exception>
    void Publish();
}

/// <summary>The pages of an image that a name reaches.</summary>
public sealed record ReachablePages(string Name, PageBlob Pages);

/// <summary>
/// Where the pages of images lie that have no page file of their own: the door for a page store. Safe for use by several threads; implementations
/// of one store in several processes exclude one another by the store's lock, which the caller holds where it says so.
/// </summary>
public interface IPageStorage
{
    /// <summary>Removes what crashed writers left and nobody can see. The caller holds the lock.</summary>
    /// <returns>True when a writer died that may have left visible but unreachable files: collect them.</returns>
    bool RemoveLeftovers();

    /// <summary>Begins the pages of an image. The caller holds the lock.</summary>
    /// <param name="parent">
    /// Pages that the new image may take over (<see cref="IPageSink.AppendFromParent"/>): they stay in the store until the writer is disposed of, and
    /// the new image lies in their dedup domain. Null for an image that begins with nothing.
    /// </param>
    /// <exception cref="ImageException">The parent's pages are damaged or gone.</exception>
    IPageWriter CreateWriter(PageBlob? parent);

    /// <summary>Opens pages for reading; they stay readable until disposed.</summary>
    /// <exception cref="ImageException">Every failure but WriteFailed.</exception>
    IPageReader Open(PageBlob pages);

    /// <summary>Throws what <see cref="Open"/> would, as far as that can be known without reading contents.</summary>
    /// <exception cref="ImageException">Every failure but WriteFailed.</exception>
    void Check(PageBlob pages);

    /// <summary>Removes every file that none of these pages needs and no writer that lives has claimed. The caller holds the lock.</summary>
    /// <returns>Files and bytes that went.</returns>
    /// <exception cref="ImageException">It cannot be known what is needed, so nothing was removed; the message names the image.</exception>
    (int Files, long Bytes) CollectGarbage(IReadOnlyList<ReachablePages> reachable);
}
