using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux.Proc;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Where the contents of a page come from.</summary>
internal enum PageOrigin
{
    /// <summary>The process has to be read.</summary>
    Process,

    /// <summary>The parent's image has them.</summary>
    Parent,

    /// <summary>The template has them, zeros that no image stores: the unused rest of a huge page.</summary>
    Zeros,
}

/// <summary>Pages of a mapping whose contents come from one place.</summary>
/// <param name="ParentOffset">In the parent's page space, bytes; of <see cref="PageOrigin.Parent"/>.</param>
internal readonly record struct PagePart(AddressRange Range, PageOrigin Origin, ulong ParentOffset);

/// <summary>
/// Tells which pages of a stopped clone are still the ones that it was forked with: one look at the page tables of both, no hashing, no reading.
/// <code>
///   clone      page 17 at A   page 90 at B   page 23 at C
///   template   page 17 at A   page 18 at B   page 23 at C
///              unchanged      written since  unchanged
///              A is in the parent's image    C is not: zeros, or changed by the farm
/// </code>
/// </summary>
/// <remarks>Not thread-safe. The clone must be stopped.</remarks>
internal sealed class UnchangedPages : IDisposable
{
    private readonly LayerBase _base;
    private readonly Pagemap _clone;
    private readonly Pagemap _template;
    private readonly List<(AddressRange Range, ulong Offset)> _stored = [];
    private readonly List<AddressRange> _anonymous = [];

    /// <exception cref="IOException">One of the processes is gone, or may not be looked at.</exception>
    public UnchangedPages(LayerBase layerBase, int clonePid)
    {
        _base = layerBase;
        _clone = Pagemap.Open(clonePid);
        try
        {
            _template = Pagemap.Open(layerBase.TemplatePid);
        }
        catch
        {
            _clone.Dispose();
            throw;
        }
        foreach (var mapping in layerBase.Parent.Manifest.Processes[0].Mappings.Where(IsInTemplate))
            Add(mapping);
    }

    /// <summary>Sorts pages of a mapping, in their order.</summary>
    public IEnumerable<PagePart> Sort(Mapping mapping, AddressRange pages)
    {
        foreach (var (range, isSame) in Pagemap.Compare(_clone, _template, pages))
        {
            if (!isSame)
            {
                yield return new PagePart(range, PageOrigin.Process, 0);
                continue;
            }
            foreach (var part in SortShared(mapping, range))
                yield return part;
        }
    }

    public void Dispose()
    {
        _clone.Dispose();
        _template.Dispose();
    }

    // Other kinds are made anew in each clone; WIPEONFORK memory is zeros in the template, whatever the image holds.
    private static bool IsInTemplate(Mapping mapping) =>
        mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile && !mapping.VmFlags.Contains("wf");

    private void Add(Mapping mapping)
    {
        var start = new VirtualAddress(mapping.Start);
        if (mapping.Kind == MappingKind.PrivateAnonymous)
            _anonymous.Add(new AddressRange(start, new VirtualAddress(mapping.End)));
        foreach (var extent in mapping.Extents)
            _stored.Add((AddressRange.FromLength(start + (extent.PageIndex * PageSize.Bytes), extent.PageCount * PageSize.Bytes), extent.BlobOffset));
    }

    private IEnumerable<PagePart> SortShared(Mapping mapping, AddressRange range)
    {
        while (!range.IsEmpty)
        {
            var (end, changedByUs) = FindIn(_base.UnlikeImage, range);
            var part = new AddressRange(range.Start, end);
            range = new AddressRange(end, range.End);
            if (changedByUs)
            {
                yield return new PagePart(part, PageOrigin.Process, 0);
                continue;
            }
            foreach (var sorted in SortLikeImage(mapping, part))
                yield return sorted;
        }
    }

    private IEnumerable<PagePart> SortLikeImage(Mapping mapping, AddressRange range)
    {
        var number = FirstEndingAfter(_stored.Count, i => _stored[i].Range.End, range.Start);
        while (!range.IsEmpty)
        {
            var next = number < _stored.Count ? _stored[number].Range : new AddressRange(range.End, range.End);
            if (next.Start > range.Start)
            {
                var hole = new AddressRange(range.Start, next.Start < range.End ? next.Start : range.End);
                foreach (var part in SortUnstored(mapping, hole))
                    yield return part;
                range = new AddressRange(hole.End, range.End);
                continue;
            }
            var stored = new AddressRange(range.Start, next.End < range.End ? next.End : range.End);
            yield return new PagePart(stored, PageOrigin.Parent, _stored[number].Offset + (stored.Start - next.Start));
            range = new AddressRange(stored.End, range.End);
            number++;
        }
    }

    private IEnumerable<PagePart> SortUnstored(Mapping mapping, AddressRange range)
    {
        while (!range.IsEmpty)
        {
            var (end, anonymous) = FindIn(_anonymous, range);
            // Over a file, and where the farm has memory of its own, the page itself has to tell.
            var origin = anonymous && mapping.Kind == MappingKind.PrivateAnonymous ? PageOrigin.Zeros : PageOrigin.Process;
            yield return new PagePart(new AddressRange(range.Start, end), origin, 0);
            range = new AddressRange(end, range.End);
        }
    }

    /// <summary>Whether one of the ranges, which ascend, holds the start of <paramref name="range"/>, and until where that stays so.</summary>
    private static (VirtualAddress End, bool IsIn) FindIn(IReadOnlyList<AddressRange> ranges, AddressRange range)
    {
        var number = FirstEndingAfter(ranges.Count, i => ranges[i].End, range.Start);
        if (number == ranges.Count)
            return (range.End, false);
        var isIn = ranges[number].Start <= range.Start;
        var end = isIn ? ranges[number].End : ranges[number].Start;
        return (end < range.End ? end : range.End, isIn);
    }

    private static int FirstEndingAfter(int count, Func<int, VirtualAddress> endOf, VirtualAddress address)
    {
        var low = 0;
        for (var high = count; low < high;)
        {
            var middle = (low + high) / 2;
            if (endOf(middle) > address)
                high = middle;
            else
                low = middle + 1;
        }
        return low;
    }
}
