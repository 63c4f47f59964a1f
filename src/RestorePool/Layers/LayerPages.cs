using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Layers;

/// <summary>Pages of an image with the addresses at which they belong.</summary>
/// <param name="BlobOffset">In the image's page space, bytes.</param>
internal readonly record struct StoredPages(AddressRange Range, ulong BlobOffset);

/// <summary>
/// Which pages of kept mappings differ between a template and the layer that it is to become. Both images point at the pages of one store: where they
/// point at the same one, contents are the same.
/// <code>
///   template   stored 17   stored 18   stored 19   none        stored 20 (changed by the farm)
///   layer      stored 17   stored 81   none        stored 82   stored 20
///              shared      written     dropped     written     written
/// </code>
/// </summary>
/// <param name="unlikeImage">Pages that the template has otherwise than its image; ascending.</param>
internal sealed class LayerPages(IPageReader parentPages, IPageReader layerPages, IReadOnlyList<AddressRange> unlikeImage)
{
    private readonly List<AddressRange> _dropped = [];
    private readonly List<StoredPages> _written = [];

    public IReadOnlyList<AddressRange> Dropped => _dropped;

    public IReadOnlyList<StoredPages> Written => _written;

    /// <summary>Goes through a range that both mappings cover.</summary>
    public void Compare(Mapping parent, Mapping layer, AddressRange range)
    {
        var ofParent = StoredIn(parent, range);
        var ofLayer = StoredIn(layer, range);
        int p = 0, l = 0;
        for (var at = range.Start; at < range.End;)
        {
            while (p < ofParent.Count && ofParent[p].Range.End <= at)
                p++;
            while (l < ofLayer.Count && ofLayer[l].Range.End <= at)
                l++;
            var (parentEnd, inParent) = Until(ofParent, p, at, range.End);
            var (layerEnd, inLayer) = Until(ofLayer, l, at, range.End);
            var (ownEnd, unlike) = Until(unlikeImage, at, range.End);
            var end = Least(parentEnd, layerEnd, ownEnd);
            if (inLayer)
                end = Write(at, end, inParent && !unlike ? ofParent[p] : null, ofLayer[l]);
            else if (inParent || unlike)
                Drop(new AddressRange(at, end));
            at = end;
        }
    }

    /// <summary>All pages of a mapping that the parent has not.</summary>
    public void WriteAll(Mapping layer) => StoredIn(layer, LayerPlan.RangeOf(layer)).ForEach(Add);

    /// <returns>Up to where it is decided: a difference may begin or end before <paramref name="end"/>.</returns>
    private VirtualAddress Write(VirtualAddress start, VirtualAddress end, StoredPages? parent, StoredPages layer)
    {
        var offset = layer.BlobOffset + (start - layer.Range.Start);
        if (parent is { } comparable)
        {
            var pages = layerPages.CompareStored(offset, parentPages, comparable.BlobOffset + (start - comparable.Range.Start), (end - start) / PageSize.Bytes, out var isSame);
            end = start + (pages * PageSize.Bytes);
            if (isSame)
                return end;
        }
        Add(new StoredPages(new AddressRange(start, end), offset));
        return end;
    }

    private void Add(StoredPages pages)
    {
        if (_written.Count > 0 && _written[^1] is var last && last.Range.End == pages.Range.Start && last.BlobOffset + last.Range.LengthBytes == pages.BlobOffset)
            _written[^1] = last with { Range = new AddressRange(last.Range.Start, pages.Range.End) };
        else
            _written.Add(pages);
    }

    private void Drop(AddressRange range)
    {
        if (_dropped.Count > 0 && _dropped[^1].End == range.Start)
            _dropped[^1] = new AddressRange(_dropped[^1].Start, range.End);
        else
            _dropped.Add(range);
    }

    private static List<StoredPages> StoredIn(Mapping mapping, AddressRange range)
    {
        var stored = new List<StoredPages>();
        var start = new VirtualAddress(mapping.Start);
        foreach (var extent in mapping.Extents)
        {
            var whole = AddressRange.FromLength(start + (extent.PageIndex * PageSize.Bytes), extent.PageCount * PageSize.Bytes);
            var part = whole.Intersect(range);
            if (!part.IsEmpty)
                stored.Add(new StoredPages(part, extent.BlobOffset + (part.Start - whole.Start)));
        }
        return stored;
    }

    /// <summary>Whether <paramref name="at"/> is stored, and until where that stays so.</summary>
    private static (VirtualAddress End, bool IsIn) Until(List<StoredPages> stored, int next, VirtualAddress at, VirtualAddress end)
    {
        if (next == stored.Count)
            return (end, false);
        return stored[next].Range.Start <= at ? (stored[next].Range.End, true) : (stored[next].Range.Start, false);
    }

    private static (VirtualAddress End, bool IsIn) Until(IReadOnlyList<AddressRange> ranges, VirtualAddress at, VirtualAddress end)
    {
        foreach (var range in ranges)
        {
            if (range.End > at)
                return range.Start <= at ? (range.End, true) : (range.Start, false);
        }
        return (end, false);
    }

    private static VirtualAddress Least(VirtualAddress one, VirtualAddress two, VirtualAddress three)
    {
        var least = one < two ? one : two;
        return least < three ? least : three;
    }
}
