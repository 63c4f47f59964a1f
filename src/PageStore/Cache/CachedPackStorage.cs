using System.Buffers;
using Snapshots.Images;
using Snapshots.PageStore.Packs;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore.Cache;

/// <summary>A remote pack storage whose objects are read through the disk cache. Thread-safe.</summary>
internal sealed class CachedPackStorage(S3PackStorage remote, RemoteStorage store) : IPackStorage
{
    public bool IsRemote => true;

    public IPackStorage Uncached => remote;

    public string LocationOf(string name) => remote.LocationOf(name);

    public IPackObject? TryOpen(string name, int firstBytes) => remote.TryOpen(name, firstBytes) is { } opened ? new CachedPackObject(opened, store) : null;

    public bool Exists(string name) => remote.Exists(name);

    public IReadOnlyList<StoredObject> List(string prefix) => remote.List(prefix);

    public bool PutIfAbsent(string name, string path) => remote.PutIfAbsent(name, path);

    public void Delete(string name)
    {
        remote.Delete(name);
        store.Cache.Drop(remote.LocationOf(name));
    }
}

/// <summary>
/// A remote object read through the disk cache.
/// <code>
/// 1. Blocks of the range that the cache has.
/// 2. The others by ranged requests: blocks that follow one another by one, up to 1 MiB; several at once.
/// 3. Who has read more than 1 MiB in order, with few gaps, gets the next blocks fetched before they are asked for: half of what was read, up to 8 MiB.
/// </code>
/// Thread-safe.
/// </summary>
internal sealed class CachedPackObject(S3PackObject remote, RemoteStorage store) : IPackObject
{
    private const int BlockBytes = PageStoreLimits.CacheBlockBytes;

    private readonly CacheKey _key = CacheKey.Of(remote.Location, remote.Version);
    private readonly Lock _gate = new();
    // Guarded by _gate.
    private readonly List<Task> _ahead = [];
    private long _expected;
    private long _readInOrder;
    private long _aheadEnd;

    public string Location => remote.Location;

    public long LengthBytes => remote.LengthBytes;

    public void Read(long offset, Span<byte> destination)
    {
        if (offset < 0 || destination.Length > LengthBytes - offset)
            throw new ImageException(ImageFailure.Truncated, $"{Location}: ends at {LengthBytes}, {offset + destination.Length - LengthBytes} bytes early; run `snapshots fsck`");
        if (destination.IsEmpty)
            return;
        if (offset + destination.Length <= remote.First.Length)
        {
            remote.First.Slice((int)offset, destination.Length).CopyTo(destination);
            return;
        }
        ReadAhead(offset, destination.Length);
        // In pieces: a page table may be 32 MiB, and blocks are read into a buffer of their own.
        while (!destination.IsEmpty)
        {
            var part = destination[..Math.Min(destination.Length, 4 * PageStoreLimits.RemoteRangeBytes)];
            ReadBlocks(offset, part);
            offset += part.Length;
            destination = destination[part.Length..];
        }
    }

    public bool ReadAnew(long offset, Span<byte> destination)
    {
        var first = offset / BlockBytes;
        store.Cache.Forget(_key, first, (int)(((offset + destination.Length - 1) / BlockBytes) - first + 1));
        remote.Read(offset, destination);
        return true;
    }

    public void Dispose()
    {
        Task[] ahead;
        lock (_gate)
            ahead = [.. _ahead];
        try
        {
            // They write to the cache, which its owner may want to remove next.
            Task.WaitAll(ahead);
        }
        catch (AggregateException)
        {
            // Nobody has asked for these blocks.
        }
    }

    private void ReadBlocks(long offset, Span<byte> destination)
    {
        var first = offset / BlockBytes;
        var start = first * BlockBytes;
        var end = Math.Min(LengthBytes, (((offset + destination.Length - 1) / BlockBytes) + 1) * BlockBytes);
        var buffer = ArrayPool<byte>.Shared.Rent((int)(end - start));
        try
        {
            var blocks = buffer.AsSpan(0, (int)(end - start));
            var found = new bool[(blocks.Length + BlockBytes - 1) / BlockBytes];
            store.Cache.Read(_key, first, blocks, found);
            if (found.Contains(false))
                Fetch(first, blocks, found);
            blocks.Slice((int)(offset - start), destination.Length).CopyTo(destination);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private void Fetch(long first, Span<byte> blocks, bool[] found)
    {
        var missing = Array.ConvertAll(found, here => !here);
        foreach (var fetch in store.Fetches.Begin(remote, _key, first, missing))
        {
            var contents = fetch.Contents.GetAwaiter().GetResult();
            // Of the two ranges of blocks what they have in common.
            var from = Math.Max(first, fetch.FirstBlock) * BlockBytes;
            var to = Math.Min((first * BlockBytes) + blocks.Length, (fetch.FirstBlock * BlockBytes) + contents.Length);
            contents.AsSpan((int)(from - (fetch.FirstBlock * BlockBytes)), (int)(to - from)).CopyTo(blocks[(int)(from - (first * BlockBytes))..]);
        }
    }

    private void ReadAhead(long offset, int length)
    {
        lock (_gate)
        {
            var inOrder = Math.Abs(offset - _expected) <= PageStoreLimits.RemoteRangeBytes;
            // What was left out counts fourfold: who reads less than four fifths, a working set in the order of addresses, would pay for all of it.
            var skipped = Math.Max(0, offset - _expected);
            _readInOrder = inOrder ? Math.Max(0, _readInOrder + length - (4 * skipped)) : length;
            _expected = inOrder ? Math.Max(_expected, offset + length) : offset + length;
            if (!inOrder)
                _aheadEnd = 0;
            // Without a cache what is fetched ahead would be lost.
            if (_readInOrder < PageStoreLimits.ReadAheadAfterBytes || !store.Cache.TakesBlocks)
                return;
            var from = Math.Max(_aheadEnd, (_expected + BlockBytes - 1) / BlockBytes * BlockBytes);
            var to = Math.Min(LengthBytes, _expected + Math.Min(_readInOrder / 2, PageStoreLimits.MaxReadAheadBytes));
            // Whole requests only, but for the end.
            if (to - from < PageStoreLimits.RemoteRangeBytes && to != LengthBytes)
                return;
            if (to <= from)
                return;
            _aheadEnd = (to + BlockBytes - 1) / BlockBytes * BlockBytes;
            var wanted = new bool[(_aheadEnd - from) / BlockBytes];
            Array.Fill(wanted, true);
            _ahead.RemoveAll(task => task.IsCompleted);
            foreach (var fetch in store.Fetches.Begin(remote, _key, from / BlockBytes, wanted))
            {
                // Whoever reads these blocks gets the error too.
                _ahead.Add(fetch.Contents.ContinueWith(done => _ = done.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default));
            }
        }
    }
}
