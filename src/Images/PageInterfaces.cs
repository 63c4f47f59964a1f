using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>Takes page contents while an image is made. Not thread-safe.</summary>
public interface IPageSink
{
    /// <summary>
    /// Stores the pages of an object from <paramref name="pageIndex"/> on. Pages of zeros are left out, so that one call may add no extent or several;
    /// an extent that continues the last one of <paramref name="extents"/> is joined to it.
    /// </summary>
    /// <param name="pageIndex">Index of the first page within its mapping or memory object; calls for one object go upwards.</param>
    /// <param name="pages">Whole pages.</param>
    /// <param name="extents">Where the extents of this object are gathered.</param>
    /// <exception cref="ImageException">WriteFailed, LimitExceeded: the sink is of no further use.</exception>
    void Append(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents);

    /// <summary>As <see cref="Append"/>, but pages of zeros are stored too: over a file mapping a missing page reads as the file, not as zeros.</summary>
    /// <exception cref="ImageException">WriteFailed, LimitExceeded: the sink is of no further use.</exception>
    void AppendWithZeros(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents);

    /// <summary>
    /// Takes pages over from the parent of a layer, which holds the same contents: nothing is read or stored again. The new image does not need its
    /// parent afterwards.
    /// </summary>
    /// <param name="pageIndex">As for <see cref="Append"/>.</param>
    /// <param name="pageCount">At least one.</param>
    /// <param name="parentOffset">Where the pages begin in the parent's page space, in bytes.</param>
    /// <exception cref="InvalidOperationException">The image has no parent to take pages from.</exception>
    /// <exception cref="ImageException">WriteFailed, LimitExceeded: the sink is of no further use.</exception>
    void AppendFromParent(ulong pageIndex, ulong pageCount, ulong parentOffset, IList<PageExtent> extents);
}

/// <summary>Gives page contents back, each byte checked against its digest before it is handed out. Safe for use by several threads.</summary>
public interface IPageReader : IDisposable
{
    /// <summary>Of the page space: what the extents of the manifest count in.</summary>
    ulong LengthBytes { get; }

    /// <summary>Every read waits for a network: who needs a page does well to ask for more at once, and for several things side by side.</summary>
    bool IsRemote => false;

    /// <summary>Fills <paramref name="destination"/> from <paramref name="blobOffset"/> on.</summary>
    /// <exception cref="ImageException">DigestMismatch, Truncated: the destination holds nothing that may be used.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The range lies outside the page space.</exception>
    void Read(ulong blobOffset, Span<byte> destination);

    /// <summary>
    /// Compares where two images have their pages, without reading any. Two images of a store that point at one stored page have the same contents
    /// there; pages that are stored twice may have as well, and are told apart.
    /// </summary>
    /// <param name="pageCount">Pages to compare, at least one, within both page spaces.</param>
    /// <param name="isSame">Whether the first of them is one and the same stored page.</param>
    /// <returns>How many pages from the first one on have the same answer, at least one.</returns>
    ulong CompareStored(ulong blobOffset, IPageReader other, ulong otherOffset, ulong pageCount, out bool isSame)
    {
        isSame = false; // A page file is one image's alone.
        return pageCount;
    }
}
