using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.RestorePool.Programs;
using Snapshots.RestorePool.WorkingSets;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// Which pages of anonymous memory a lazy template has before its first clone is born: those that clones are known to need on their way to the
/// first answer, those that others may look at, and mappings so small that a fault costs more than all of their pages. The others are missing.
/// </summary>
internal sealed class EagerPages
{
    /// <summary>A mapping of so few pages is loaded whole.</summary>
    private const ulong FewPages = 16;

    /// <summary>The kernel's own limit for arguments and environment is a quarter of the stack's.</summary>
    private const ulong LargestArgumentBytes = 2 << 20;

    private readonly Dictionary<ulong, List<PageExtent>> _loaded = [];
    private readonly List<AddressRange> _registered = [];
    private readonly HashSet<ulong> _registeredStarts = [];
    private readonly List<AddressRange> _zeros = [];

    private EagerPages(MissingPages missing) => Missing = missing;

    /// <summary>What faults will ask for.</summary>
    public MissingPages Missing { get; private set; }

    /// <summary>The mappings that have missing pages, whole.</summary>
    public IReadOnlyList<AddressRange> Registered => _registered;

    /// <summary>Pages that clones are known to touch and that the image does not have, since they are zeros: within <see cref="Registered"/>.</summary>
    public IReadOnlyList<AddressRange> Zeros => _zeros;

    /// <param name="known">Null when nothing was learned yet.</param>
    public static EagerPages For(ProcessImage process, WorkingSet? known)
    {
        var eager = new EagerPages(MissingPages.None);
        var wanted = known is null ? [] : PagesOf(known);
        wanted.UnionWith(ArgumentPages(process.Layout));
        var ascending = wanted.Order().ToArray();
        var missing = new List<MissingPiece>();
        foreach (var mapping in process.Mappings.Where(IsLazy))
        {
            eager.Divide(mapping, wanted, missing);
            if (eager.IsRegistered(mapping))
                eager.AddZeros(mapping, ascending);
        }
        eager.Missing = MissingPages.Of(missing);
        return eager;
    }

    /// <summary>Whether a mapping is among <see cref="Registered"/>.</summary>
    public bool IsRegistered(Mapping mapping) => _registeredStarts.Contains(mapping.Start);

    /// <summary>The parts of a mapping's extents to load; all of them for what is never lazy.</summary>
    public IEnumerable<PageExtent> ExtentsOf(Mapping mapping) => _loaded.TryGetValue(mapping.Start, out var loaded) ? loaded : mapping.Extents;

    private static bool IsLazy(Mapping mapping) => MemoryCompiler.IsFilledThroughPages(mapping) && !mapping.Has(VmFlags.WipeOnFork);

    private static HashSet<ulong> PagesOf(WorkingSet known) =>
        [.. PageRanges.PagesOf(known.Written.Concat(known.Read)).Select(page => page.Value)];

    /// <summary>Others read a process's command line and environment in /proc; the kernel gives them nothing of a page that is missing.</summary>
    private static IEnumerable<ulong> ArgumentPages(AddressSpaceLayout layout)
    {
        ulong[] bounds = [layout.ArgStart, layout.ArgEnd, layout.EnvStart, layout.EnvEnd];
        for (var page = bounds.Min() / PageSize.Bytes * PageSize.Bytes; page < Math.Min(bounds.Max(), bounds.Min() + LargestArgumentBytes); page += PageSize.Bytes)
            yield return page;
    }

    private void Divide(Mapping mapping, HashSet<ulong> wanted, List<MissingPiece> missing)
    {
        if (mapping.Extents.Aggregate(0UL, (sum, extent) => sum + extent.PageCount) <= FewPages)
            return;
        var loaded = new List<PageExtent>();
        var before = missing.Count;
        foreach (var extent in mapping.Extents)
        {
            ulong first = 0;
            while (first < extent.PageCount)
            {
                var isWanted = wanted.Contains(AddressOf(mapping, extent, first).Value);
                var end = first + 1;
                while (end < extent.PageCount && wanted.Contains(AddressOf(mapping, extent, end).Value) == isWanted)
                    end++;
                if (isWanted)
                    loaded.Add(new PageExtent { PageIndex = extent.PageIndex + first, PageCount = end - first, BlobOffset = extent.BlobOffset + (first * PageSize.Bytes) });
                else
                    missing.Add(new MissingPiece(AddressRange.FromLength(AddressOf(mapping, extent, first), (end - first) * PageSize.Bytes), extent.BlobOffset + (first * PageSize.Bytes)));
                first = end;
            }
        }
        _loaded.Add(mapping.Start, loaded);
        if (missing.Count > before)
        {
            _registeredStarts.Add(mapping.Start);
            _registered.Add(new AddressRange(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End)));
        }
    }

    private void AddZeros(Mapping mapping, ulong[] wanted)
    {
        var found = Array.BinarySearch(wanted, mapping.Start);
        var extent = 0;
        for (var i = found >= 0 ? found : ~found; i < wanted.Length && wanted[i] < mapping.End; i++)
        {
            var page = (wanted[i] - mapping.Start) / PageSize.Bytes;
            while (extent < mapping.Extents.Count && mapping.Extents[extent].PageIndex + mapping.Extents[extent].PageCount <= page)
                extent++;
            if (extent < mapping.Extents.Count && mapping.Extents[extent].PageIndex <= page)
                continue;
            var start = new VirtualAddress(wanted[i]);
            if (_zeros.Count > 0 && _zeros[^1].End == start && start.Value != mapping.Start)
                _zeros[^1] = new AddressRange(_zeros[^1].Start, start + PageSize.Bytes);
            else
                _zeros.Add(AddressRange.FromLength(start, PageSize.Bytes));
        }
    }

    private static VirtualAddress AddressOf(Mapping mapping, PageExtent extent, ulong page) =>
        new(mapping.Start + ((extent.PageIndex + page) * PageSize.Bytes));
}
