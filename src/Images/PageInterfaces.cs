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
}
