using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Where anonymous mappings are built before mremap(2) brings them to their addresses: side by side in huge pages, whatever gaps lie between them.
/// <code>
///   address space   ··[ A ]·····[  B      |2 MiB block|    ]··[C]···
///   staging         |  A  C  [ B          |2 MiB block|    ]  |        | = border of a huge page
/// </code>
/// A fork copies one entry for a block that stays in place in one piece (B's), and for the other pages, which the kernel maps one by one after the
/// move, it counts references per huge page and not per page: little more than half of the time (docs/engine.md). The pages of a 256 KiB chunk
/// that stands alone in its 2 MiB, as V8 allocates them, could not be in a huge page otherwise.
/// </summary>
/// <remarks>
/// Mappings with a dense block of their own keep their offset within 2 MiB, so that the block stays one; the others fill the gaps between those
/// and then follow. Left out: stacks, which grow, memory that asked for small pages, and mappings so large that their edges do not matter.
/// </remarks>
internal sealed class StagingPlan
{
    /// <summary>So many pages make a mapping worth two more system calls per template.</summary>
    private const ulong LeastPages = 16;

    private const ulong LargestMappingBytes = 1UL << 30;

    /// <summary>A block is backed by a huge page when at least a quarter of it is filled; what is left empty is the price.</summary>
    private const uint LeastPagesPerBlock = PageDensity.PagesPerBlock / 4;

    /// <summary>A block that is worth keeping in one piece.</summary>
    private const uint DensePages = PageDensity.PagesPerBlock * 7 / 8;

    private readonly Dictionary<ulong, ulong> _offsets = [];
    private readonly List<(ulong Offset, ulong LengthBytes, bool NoReserve)> _areas = [];
    private VirtualAddress _start;

    private StagingPlan()
    {
    }

    /// <summary>Nothing is staged.</summary>
    public static StagingPlan None { get; } = new();

    public ulong LengthBytes { get; private set; }

    /// <summary>Mappings to make first; MAP_NORESERVE is a property of the whole mapping, so those with it have one of their own.</summary>
    public IEnumerable<(AddressRange Range, bool NoReserve)> Areas =>
        _areas.Select(area => (AddressRange.FromLength(_start + area.Offset, area.LengthBytes), area.NoReserve));

    public static StagingPlan For(ProcessImage process)
    {
        var plan = new StagingPlan();
        foreach (var group in process.Mappings.Where(IsStaged).GroupBy(mapping => mapping.Has(VmFlags.NoReserve)))
            plan.AddArea([.. group], group.Key);
        return plan;
    }

    /// <summary>Fixes the base, a multiple of 2 MiB, once the region plan knows it.</summary>
    public void Place(VirtualAddress start) => _start = start;

    /// <summary>Where <paramref name="mapping"/> is built; null when that is its own address.</summary>
    public VirtualAddress? AddressOf(Mapping mapping) => _offsets.TryGetValue(mapping.Start, out var offset) ? _start + offset : null;

    /// <summary>The blocks to back with huge pages before they are filled.</summary>
    public IEnumerable<AddressRange> HugeBlocks(ProcessImage process)
    {
        if (_areas.Count == 0)
            return [];
        var density = new PageDensity(AddressRange.FromLength(_start, LengthBytes));
        foreach (var mapping in process.Mappings)
        {
            if (AddressOf(mapping) is not { } address)
                continue;
            foreach (var extent in mapping.Extents)
                density.Add(address + (extent.PageIndex * PageSize.Bytes), extent.PageCount);
        }
        // Not across areas: those are different mappings.
        return density.Runs(LeastPagesPerBlock).SelectMany(run => Areas.Select(area => area.Range.Intersect(run))).Where(range => range.LengthBytes > 0);
    }

    private static bool IsStaged(Mapping mapping) =>
        MemoryCompiler.IsFilledThroughPages(mapping)
        && !mapping.Has(VmFlags.GrowsDown) && !mapping.Has(VmFlags.NoHugePages) && !mapping.Has(VmFlags.WipeOnFork)
        && mapping.End - mapping.Start <= LargestMappingBytes
        && mapping.Extents.Aggregate(0UL, (sum, extent) => sum + extent.PageCount) >= LeastPages;

    private static bool HasDenseBlock(Mapping mapping)
    {
        var density = new PageDensity(new AddressRange(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End)));
        foreach (var extent in mapping.Extents)
            density.Add(new VirtualAddress(mapping.Start) + (extent.PageIndex * PageSize.Bytes), extent.PageCount);
        return density.Runs(DensePages).Any();
    }

    private void AddArea(IReadOnlyList<Mapping> mappings, bool noReserve)
    {
        var areaStart = LengthBytes;
        var cursor = areaStart;
        var gaps = new List<(ulong Offset, ulong LengthBytes)>();
        var withBlocks = mappings.Where(HasDenseBlock).ToHashSet();
        foreach (var mapping in withBlocks)
        {
            var offset = (cursor & ~(PageSize.HugeBytes - 1)) + (mapping.Start & (PageSize.HugeBytes - 1));
            if (offset < cursor)
                offset += PageSize.HugeBytes;
            if (offset > cursor)
                gaps.Add((cursor, offset - cursor));
            _offsets.Add(mapping.Start, offset);
            cursor = offset + (mapping.End - mapping.Start);
        }
        foreach (var mapping in mappings.Where(mapping => !withBlocks.Contains(mapping)).OrderByDescending(mapping => mapping.End - mapping.Start))
        {
            var length = mapping.End - mapping.Start;
            var gap = gaps.FindIndex(gap => gap.LengthBytes >= length);
            _offsets.Add(mapping.Start, gap >= 0 ? gaps[gap].Offset : cursor);
            if (gap >= 0)
                gaps[gap] = (gaps[gap].Offset + length, gaps[gap].LengthBytes - length);
            else
                cursor += length;
        }
        var end = (cursor + PageSize.HugeBytes - 1) & ~(PageSize.HugeBytes - 1);
        _areas.Add((areaStart, end - areaStart, noReserve));
        LengthBytes = end;
    }
}
