using System.Buffers;
using Snapshots.Images;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore;

/// <summary>
/// Reads the page space of an image from packs. Frames that lie one behind the other are fetched together. Those that a request covers whole are decompressed in place;
/// others are kept a while, since the next request usually continues in them. Every frame is checked each time it is fetched. Thread-safe.
/// </summary>
internal sealed class PackedPageReader : IPageReader
{
    private readonly PageMap _map;
    private readonly PackFile[] _packs;
    private readonly long[] _starts;
    private readonly PageMapIndex _index;
    private readonly FrameCache _cache = new();
    private readonly string _source;
    private readonly IDisposable? _claim;
    private volatile bool _disposed;

    /// <param name="packs">Those of the map, in its order; they become the reader's, also when this fails.</param>
    /// <param name="source">For messages.</param>
    /// <param name="claim">Given up when the reader is disposed; it stays the caller's when this fails.</param>
    /// <exception cref="ImageException">Malformed: the map points outside a pack; NotFound: at frames that were dropped.</exception>
    public PackedPageReader(PageMap map, PackFile[] packs, ulong lengthBytes, string source, IDisposable? claim = null)
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
            Array.ForEach(_packs, pack => pack.Dispose());
            throw;
        }
        _claim = claim;
    }

    public ulong LengthBytes { get; }

    // Only packs in an object store have to be claimed to be read.
    public bool IsRemote => _claim is not null;

    public void Read(ulong blobOffset, Span<byte> destination)
    {
        // Frames that are kept decompressed would still be there.
        ObjectDisposedException.ThrowIf(_disposed, this);
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
        _claim?.Dispose();
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
            var rest = Math.Min(destination.Length, pack.Header.RawBytesOf(frame) - inFrame);
            // Who reads on in pieces that are no whole frames finds the one that he was in.
            var count = (inFrame > 0 || rest < pack.Header.RawBytesOf(frame)) && _cache.TryCopy(pack, frame, inFrame, destination[..rest])
                ? rest
                : ReadFrames(pack, frame, inFrame, destination);
            offset += count;
            destination = destination[count..];
        }
    }

    /// <summary>
    /// Reads frames that follow one another by one fetch: as many as the destination reaches into and one fetch may bring; at least one. Those that it
    /// covers whole are decompressed in place, the others are kept.
    /// </summary>
    /// <param name="inFirst">Where in the first frame to begin.</param>
    /// <returns>Bytes of the destination that are filled.</returns>
    private int ReadFrames(PackFile pack, int first, int inFirst, Span<byte> destination)
    {
        int stored = 0, reach = -inFirst, end = first;
        while (end < pack.Header.FrameCount && reach < destination.Length && !pack.Frames[end].IsDropped
            && (end == first || stored + pack.Frames[end].StoredBytes <= PageStoreLimits.FetchBytes))
        {
            stored += pack.Frames[end].StoredBytes;
            reach += pack.Header.RawBytesOf(end++);
        }
        var buffer = ArrayPool<byte>.Shared.Rent(stored);
        try
        {
            var fetched = buffer.AsSpan(0, stored);
            pack.ReadStored(first, fetched);
            var done = 0;
            for (var frame = first; frame < end; frame++)
            {
                var skipped = frame == first ? inFirst : 0;
                var part = destination[done..Math.Min(destination.Length, done + pack.Header.RawBytesOf(frame) - skipped)];
                Unpack(pack, frame, skipped, fetched[..pack.Frames[frame].StoredBytes], part);
                fetched = fetched[pack.Frames[frame].StoredBytes..];
                done += part.Length;
            }
            return done;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private void Unpack(PackFile pack, int frame, int skipped, Span<byte> stored, Span<byte> part)
    {
        if (part.Length == pack.Header.RawBytesOf(frame))
        {
            pack.Unpack(frame, stored, part);
            return;
        }
        var raw = _cache.TakeBuffer();
        try
        {
            pack.Unpack(frame, stored, raw.AsSpan(0, pack.Header.RawBytesOf(frame)));
        }
        catch
        {
            _cache.Return(raw);
            throw;
        }
        raw.AsSpan(skipped, part.Length).CopyTo(part);
        _cache.Keep(pack, frame, raw);
    }
}
