using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore.Cache;

/// <summary>Blocks that are on their way from the object store, so that those who want the same one wait for one request. Thread-safe.</summary>
internal sealed class BlockFetches(BlockCache cache)
{
    private readonly Lock _gate = new();
    // Guarded by _gate.
    private readonly Dictionary<(CacheKey Key, long Block), Fetch> _underWay = [];

    /// <summary>Some blocks of one object, one after the other.</summary>
    internal sealed record Fetch(CacheKey Key, long FirstBlock, int Count, Task<byte[]> Contents);

    /// <summary>Fetches blocks that are not here; those that somebody fetches already are waited for instead.</summary>
    /// <param name="missing">One for each block from <paramref name="firstBlock"/> on: whether it is wanted.</param>
    /// <returns>All fetches that bring a wanted block.</returns>
    public List<Fetch> Begin(S3PackObject source, CacheKey key, long firstBlock, ReadOnlySpan<bool> missing)
    {
        const int MostBlocks = PageStoreLimits.RemoteRangeBytes / PageStoreLimits.CacheBlockBytes;
        var fetches = new List<Fetch>();
        lock (_gate)
        {
            for (var i = 0; i < missing.Length; i++)
            {
                if (!missing[i])
                    continue;
                if (_underWay.TryGetValue((key, firstBlock + i), out var other))
                {
                    if (fetches.Count == 0 || fetches[^1] != other)
                        fetches.Add(other);
                    continue;
                }
                var count = 1;
                while (i + count < missing.Length && missing[i + count] && count < MostBlocks && !_underWay.ContainsKey((key, firstBlock + i + count)))
                    count++;
                fetches.Add(Start(source, key, firstBlock + i, count));
                i += count - 1;
            }
        }
        return fetches;
    }

    // Called with the gate held.
    private Fetch Start(S3PackObject source, CacheKey key, long firstBlock, int count)
    {
        // It begins on another thread, and so cannot end before it is noted.
        var fetch = new Fetch(key, firstBlock, count, Task.Run(() => RunAsync(source, key, firstBlock, count)));
        for (var i = 0; i < count; i++)
            _underWay.Add((key, firstBlock + i), fetch);
        return fetch;
    }

    private async Task<byte[]> RunAsync(S3PackObject source, CacheKey key, long firstBlock, int count)
    {
        try
        {
            var offset = firstBlock * PageStoreLimits.CacheBlockBytes;
            var contents = GC.AllocateUninitializedArray<byte>((int)Math.Min((long)count * PageStoreLimits.CacheBlockBytes, source.LengthBytes - offset));
            // Another fetch may have brought them between the caller's look and this one's beginning.
            var found = new bool[count];
            cache.Read(key, firstBlock, contents, found);
            var first = Array.IndexOf(found, false);
            if (first < 0)
                return contents;
            var start = first * PageStoreLimits.CacheBlockBytes;
            var end = Math.Min(contents.Length, (Array.LastIndexOf(found, false) + 1) * PageStoreLimits.CacheBlockBytes);
            await source.ReadAsync(offset + start, contents.AsMemory(start..end)).ConfigureAwait(false);
            cache.Write(key, firstBlock + first, contents.AsSpan(start..end));
            return contents;
        }
        finally
        {
            lock (_gate)
            {
                for (var i = 0; i < count; i++)
                    _underWay.Remove((key, firstBlock + i));
            }
        }
    }
}
