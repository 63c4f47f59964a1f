using System.Collections.Concurrent;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>
/// The near half of every page writer: leaves out zeros, lays pages one behind the other in the image's page space, and gathers them into segments; a
/// thread of its own hands each full segment, in order, to whoever stores it, while the caller, who holds a process stopped, goes on gathering.
/// Poisoned by the first failure of what stores. Not thread-safe.
/// </summary>
public sealed class PageGatherer : IPageSink, IDisposable
{
    // So much memory may wait for hashing and the disk before the caller does: the process being read is stopped meanwhile, so it is a lot.
    private const int SegmentsInFlight = 512;

    private readonly string _subject;
    private readonly Action<ReadOnlyMemory<byte>, IReadOnlyList<TakenPages>> _store;
    private readonly BlockingCollection<byte[]> _free = [];
    private readonly BlockingCollection<(byte[] Buffer, int Length, IReadOnlyList<TakenPages> Taken)> _full = [];
    private readonly Thread _thread;
    private List<TakenPages> _taken = [];
    private byte[] _segment;
    private int _segmentLength;
    private volatile Exception? _failure;
    private int _bufferCount;
    private bool _finished;

    /// <param name="subject">File or place for messages.</param>
    /// <param name="store">
    /// Called for each segment of <see cref="ImageLimits.SegmentBytes"/>, the last may be shorter, with the pages that are taken over between its own;
    /// the memory is used again afterwards.
    /// </param>
    public PageGatherer(string subject, Action<ReadOnlyMemory<byte>, IReadOnlyList<TakenPages>> store)
    {
        _subject = subject;
        _store = store;
        _segment = TakeBuffer();
        _thread = new Thread(StoreSegments) { IsBackground = true, Name = "pages" };
        _thread.Start();
    }

    /// <summary>Bytes of the page space so far.</summary>
    public ulong LengthBytes { get; private set; }

    /// <inheritdoc/>
    public void Append(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(pages.Length % (int)PageSize.Bytes, 0, nameof(pages));
        ObjectDisposedException.ThrowIf(_finished, this);
        while (!pages.IsEmpty)
        {
            var count = PageZeros.RunLength(pages, out var zero);
            var run = pages[..(count * (int)PageSize.Bytes)];
            if (!zero)
                Gather(pageIndex, run, extents);
            pageIndex += (ulong)count;
            pages = pages[run.Length..];
        }
    }

    /// <inheritdoc/>
    public void AppendWithZeros(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(pages.Length % (int)PageSize.Bytes, 0, nameof(pages));
        ObjectDisposedException.ThrowIf(_finished, this);
        if (!pages.IsEmpty)
            Gather(pageIndex, pages, extents);
    }

    /// <inheritdoc/>
    public void AppendFromParent(ulong pageIndex, ulong pageCount, ulong parentOffset, IList<PageExtent> extents)
    {
        ArgumentOutOfRangeException.ThrowIfZero(pageCount);
        ObjectDisposedException.ThrowIf(_finished, this);
        Lengthen(pageIndex, pageCount * PageSize.Bytes, extents);
        var at = _segmentLength / (int)PageSize.Bytes;
        if (_taken.Count > 0 && _taken[^1] is var last && last.BeforePage == at && last.ParentOffset + (last.PageCount * PageSize.Bytes) == parentOffset)
            _taken[^1] = last with { PageCount = last.PageCount + pageCount };
        else
            _taken.Add(new TakenPages(at, parentOffset, pageCount));
    }

    /// <summary>Makes buffers for so many bytes, touching every page: page faults are for now, not for when a process is stopped.</summary>
    public void Prepare(ulong bytes)
    {
        var wanted = (int)Math.Min(SegmentsInFlight, (bytes / ImageLimits.SegmentBytes) + 1);
        while (_bufferCount < wanted)
        {
            var buffer = GC.AllocateUninitializedArray<byte>(ImageLimits.SegmentBytes);
            for (var at = 0; at < buffer.Length; at += (int)PageSize.Bytes)
                buffer[at] = 1;
            _bufferCount++;
            _free.Add(buffer);
        }
    }

    /// <summary>Returns once the last segment was stored.</summary>
    /// <exception cref="ImageException">What storing threw; WriteFailed when that was the disk.</exception>
    public void Finish()
    {
        if (_segmentLength > 0 || _taken.Count > 0)
            HandOver();
        Stop();
        ThrowIfFailed();
    }

    /// <summary>Waits for the thread; what was not stored yet may be lost.</summary>
    public void Dispose()
    {
        Stop();
        _free.Dispose();
        _full.Dispose();
    }

    private void Gather(ulong pageIndex, ReadOnlySpan<byte> run, IList<PageExtent> extents)
    {
        Lengthen(pageIndex, (ulong)run.Length, extents);
        while (!run.IsEmpty)
        {
            var part = run[..Math.Min(run.Length, _segment.Length - _segmentLength)];
            part.CopyTo(_segment.AsSpan(_segmentLength));
            _segmentLength += part.Length;
            run = run[part.Length..];
            if (_segmentLength == _segment.Length)
                HandOver();
        }
    }

    private void Lengthen(ulong pageIndex, ulong bytes, IList<PageExtent> extents)
    {
        if (bytes > ImageLimits.MaxPageBlobBytes - LengthBytes)
            throw new ImageException(ImageFailure.LimitExceeded, $"{_subject}: an image may hold {ImageLimits.MaxPageBlobBytes >> 30} GiB of pages; snapshot a smaller process");
        AddExtent(extents, pageIndex, bytes / PageSize.Bytes, LengthBytes);
        LengthBytes += bytes;
    }

    private static void AddExtent(IList<PageExtent> extents, ulong pageIndex, ulong pageCount, ulong blobOffset)
    {
        if (extents.Count > 0 && extents[^1] is { } last
            && last.PageIndex + last.PageCount == pageIndex && last.BlobOffset + (last.PageCount * PageSize.Bytes) == blobOffset)
            last.PageCount += pageCount;
        else
            extents.Add(new PageExtent { PageIndex = pageIndex, PageCount = pageCount, BlobOffset = blobOffset });
    }

    private void HandOver()
    {
        ThrowIfFailed();
        _full.Add((_segment, _segmentLength, _taken));
        _taken = [];
        _segment = TakeBuffer();
        _segmentLength = 0;
    }

    private byte[] TakeBuffer()
    {
        if (_free.TryTake(out var free))
            return free;
        if (_bufferCount < SegmentsInFlight)
        {
            _bufferCount++;
            return GC.AllocateUninitializedArray<byte>(ImageLimits.SegmentBytes);
        }

        // Waits when the disk is slower than the caller; the storing thread gives buffers back even after it failed.
        return _free.Take();
    }

    private void StoreSegments()
    {
        foreach (var (buffer, length, taken) in _full.GetConsumingEnumerable())
        {
            try
            {
                if (_failure is null)
                    _store(buffer.AsMemory(0, length), taken);
            }
            catch (Exception cause)
            {
                _failure = cause; // Thrown to the caller by whatever it does next.
            }
            _free.Add(buffer);
        }
    }

    private void Stop()
    {
        if (_finished)
            return;
        _finished = true;
        _full.CompleteAdding();
        _thread.Join();
    }

    private void ThrowIfFailed()
    {
        if (_failure is ImageException failure)
            throw new ImageException(failure.Failure, failure.Message, failure);
        if (_failure is { } cause)
            throw new ImageException(ImageFailure.WriteFailed, $"{_subject}: {cause.Message}; free space on that file system and create the snapshot again", cause);
    }
}

/// <summary>Pages of the parent that stand between the pages of a segment.</summary>
/// <param name="BeforePage">The page of the segment that follows them; the number of its pages when none does.</param>
/// <param name="ParentOffset">In the parent's page space, bytes.</param>
public readonly record struct TakenPages(int BeforePage, ulong ParentOffset, ulong PageCount);
