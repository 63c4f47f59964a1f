namespace Snapshots.PageStore.Maps;

/// <summary>Finds where pages of a page space are stored. Immutable, thread-safe.</summary>
internal sealed class PageMapIndex
{
    private readonly PageMap _map;
    private readonly long[] _starts;

    public PageMapIndex(PageMap map)
    {
        _map = map;
        _starts = new long[map.Runs.Count];
        long page = 0;
        for (var i = 0; i < _starts.Length; i++)
        {
            _starts[i] = page;
            page += map.Runs[i].PageCount;
        }
        PageCount = page;
    }

    public long PageCount { get; }

    public PageMap Map => _map;

    /// <summary>What is stored of the page space from <paramref name="page"/> on: the rest of the run that holds it.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The page space ends before it.</exception>
    public PageRun RunAt(long page)
    {
        if (page < 0 || page >= PageCount)
            throw new ArgumentOutOfRangeException(nameof(page), $"page {page} lies outside of the {PageCount} pages of the map");
        var found = Array.BinarySearch(_starts, page);
        var number = found >= 0 ? found : ~found - 1;
        var run = _map.Runs[number];
        var skipped = (int)(page - _starts[number]);
        return new PageRun(run.PageCount - skipped, run.Pack, run.FirstPage + skipped);
    }

    /// <summary>How many pages from <paramref name="page"/> and <paramref name="otherPage"/> on are the same stored pages, or are not.</summary>
    /// <param name="pageCount">The most to look at.</param>
    public ulong Compare(long page, PageMapIndex other, long otherPage, ulong pageCount, out bool isSame)
    {
        isSame = false;
        ulong compared = 0;
        while (compared < pageCount)
        {
            var run = RunAt(page + (long)compared);
            var otherRun = other.RunAt(otherPage + (long)compared);
            var same = run.FirstPage == otherRun.FirstPage && _map.Packs[run.Pack] == other._map.Packs[otherRun.Pack];
            if (compared == 0)
                isSame = same;
            else if (same != isSame)
                break;
            // Runs that begin apart stay apart for as long as both last.
            compared += Math.Min(pageCount - compared, (ulong)Math.Min(run.PageCount, otherRun.PageCount));
        }
        return compared;
    }
}
