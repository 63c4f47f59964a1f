using System.Buffers;
using Snapshots.Images;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore;

/// <summary>
/// Reads the page space of an image from packs. Frames that a request covers whole are fetched many at a time and decompressed in place; of others the
/// whole frame is decompressed and kept a while, since the next request usually continues in it. Every frame is checked each time it is fetched. Thread-safe.
/// </summary>
internal sealed class PackedPageReader : IPageReader
{
    private readonly PageMap _map;
    private readonly PackFile[] _packs;
    private readonly long[] _starts;
    private readonly PageMapIndex _index;
    private readonly FrameCache _cache = new();
    private readonly string _source;
    private volatile bool _disposed;

    /// <param name="packs">Those of the map, in its order; they become the reader's, also when this fails.</param>
    /// <param name="source">For messages.</param>
    /// <exception cref="ImageException">Malformed: the map points outside a pack; NotFound: at frames that were dropped.</exception>
    public PackedPageReader(PageMap map, PackFile[] packs, ulong lengthBytes, string source)
    {
        _map = map;
        _packs = packs;
        _source = source;
        LengthBytes = lengthBytes;
        _index = new PageMapIndex(map);
        _starts = new long[map.Runs.Count];
        try
        {
            long page = 0;
            for (var i = 0; i < _starts.Length; i++)
            {
                CheckRun(map.Runs[i]);
                _starts[i] = page;
                page += map.Runs[i].PageCount;
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public ulong LengthBytes { get; }

    public void Read(ulong blobOffset, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_disposed, this); // Also what the cache still has.
        if (blobOffset > LengthBytes || (ulong)destination.Length > LengthBytes - blobOffset)
            throw new ArgumentOutOfRangeException(nameof(blobOffset), $"{_source}: {destination.Length} bytes at {blobOffset} lie outside its {LengthBytes} bytes");
        if (destination.IsEmpty)
            return;
        var offset = (long)blobOffset;
        var found = Array.BinarySearch(_starts, offset / PageStoreLimits.PageBytes);
        for (var i = found >= 0 ? found : ~found - 1; !destination.IsEmpty; i++)
        {
            var run = _map.Runs[i];
            var inRun = offset - (_starts[i] * PageStoreLimits.PageBytes);
            var part = destination[..(int)Math.Min(destination.Length, ((long)run.PageCount * PageStoreLimits.PageBytes) - inRun)];
            ReadFromPack(_packs[run.Pack], ((long)run.FirstPage * PageStoreLimits.PageBytes) + inRun, part);
            offset += part.Length;
            destination = destination[part.Length..];
        }
    }

    public ulong CompareStored(ulong blobOffset, IPageReader other, ulong otherOffset, ulong pageCount, out bool isSame)
    {
        if (other is PackedPageReader packed)
            return _index.Compare((long)(blobOffset / PageStoreLimits.PageBytes), packed._index, (long)(otherOffset / PageStoreLimits.PageBytes), pageCount, out isSame);
        isSame = false;
        return pageCount;
    }

    public void Dispose()
    {
        _disposed = true;
        Array.ForEach(_packs, pack => pack.Dispose());
    }

    private void CheckRun(PageRun run)
    {
        var pack = _packs[run.Pack];
        if (run.FirstPage + run.PageCount > pack.Header.PageCount)
            throw new ImageException(ImageFailure.Malformed, $"{_source}: the page map points outside of {pack.Location}; create the snapshot again");
        var last = (run.FirstPage + run.PageCount - 1) / pack.Header.PagesPerFrame;
        for (var frame = run.FirstPage / pack.Header.PagesPerFrame; frame <= last; frame++)
        {
            if (pack.Frames[frame].IsDropped)
                throw new ImageException(ImageFailure.NotFound, $"{_source}: needs frame {frame} of {pack.Location}, which was dropped; create the snapshot again");
        }
    }

    private void ReadFromPack(PackFile pack, long offset, Span<byte> destination)
    {
        var frameBytes = pack.Header.PagesPerFrame * PageStoreLimits.PageBytes;
        while (!destination.IsEmpty)
        {
            var frame = (int)(offset / frameBytes);
            var inFrame = (int)(offset % frameBytes);
            var raw = pack.Header.RawBytesOf(frame);
            var count = inFrame == 0 && destination.Length >= raw
                ? ReadWholeFrames(pack, frame, destination)
                : ReadPart(pack, frame, inFrame, destination[..Math.Min(destination.Length, raw - inFrame)]);
            offset += count;
            destination = destination[count..];
        }
    }

    /// <summary>As many frames as fit into the destination and into one fetch; at least one does.</summary>
    private static int ReadWholeFrames(PackFile pack, int first, Span<byte> destination)
    {
        int stored = 0, raw = 0, end = first;
        while (end < pack.Header.FrameCount && !pack.Frames[end].IsDropped && raw + pack.Header.RawBytesOf(end) <= destination.Length
            && (end == first || stored + pack.Frames[end].StoredBytes <= PageStoreLimits.FetchBytes))
        {
            stored += pack.Frames[end].StoredBytes;
            raw += pack.Header.RawBytesOf(end++);
        }
        var buffer = ArrayPool<byte>.Shared.Rent(stored);
        try
        {
            var fetched = buffer.AsSpan(0, stored);
            pack.ReadStored(first, fetched);
            int at = 0, done = 0;
            for (var frame = first; frame < end; frame++)
            {
                pack.Unpack(frame, fetched.Slice(at, pack.Frames[frame].StoredBytes), destination.Slice(done, pack.Header.RawBytesOf(frame)));
                at += pack.Frames[frame].StoredBytes;
                done += pack.Header.RawBytesOf(frame);
            }
            return raw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private int ReadPart(PackFile pack, int frame, int inFrame, Span<byte> destination)
    {
        if (_cache.TryCopy(pack, frame, inFrame, destination))
            return destination.Length;
        var raw = _cache.TakeBuffer();
        var scratch = _cache.TakeBuffer();
        try
        {
            pack.ReadFrame(frame, scratch, raw.AsSpan(0, pack.Header.RawBytesOf(frame)));
        }
        catch
        {
            _cache.Return(raw);
            throw;
        }
        finally
        {
            _cache.Return(scratch);
        }
        raw.AsSpan(inFrame, destination.Length).CopyTo(destination);
        _cache.Keep(pack, frame, raw);
        return destination.Length;
    }
}
