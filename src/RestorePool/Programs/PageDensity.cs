using Snapshots.AddressSpace;

namespace Snapshots.RestorePool.Programs;

/// <summary>How many pages with contents lie in each 2 MiB block of a range; blocks that lie in it only partly are not counted.</summary>
internal sealed class PageDensity
{
    public const uint PagesPerBlock = (uint)(PageSize.HugeBytes / PageSize.Bytes);

    private readonly VirtualAddress _first;
    private readonly uint[] _counts;

    public PageDensity(AddressRange range)
    {
        _first = range.Start.AlignUp(PageSize.HugeBytes);
        var end = range.End.AlignDown(PageSize.HugeBytes);
        _counts = end > _first ? new uint[(end - _first) / PageSize.HugeBytes] : [];
    }

    public void Add(VirtualAddress start, ulong pageCount)
    {
        var page = start.Value;
        var end = page + (pageCount * PageSize.Bytes);
        while (page < end)
        {
            var blockEnd = Math.Min(end, (page & ~(PageSize.HugeBytes - 1)) + PageSize.HugeBytes);
            if (page >= _first.Value && (page - _first.Value) / PageSize.HugeBytes is var block && block < (ulong)_counts.Length)
                _counts[block] += (uint)((blockEnd - page) / PageSize.Bytes);
            page = blockEnd;
        }
    }

    /// <summary>Maximal runs of adjacent blocks that hold at least <paramref name="leastPages"/> pages each.</summary>
    public IEnumerable<AddressRange> Runs(uint leastPages)
    {
        for (var i = 0; i < _counts.Length; i++)
        {
            if (_counts[i] < leastPages)
                continue;
            var start = i;
            while (i < _counts.Length && _counts[i] >= leastPages)
                i++;
            yield return new AddressRange(_first + ((ulong)start * PageSize.HugeBytes), _first + ((ulong)i * PageSize.HugeBytes));
        }
    }
}
