using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.WorkingSets;

/// <summary>Pages as ranges.</summary>
public static class PageRanges
{
    /// <summary>Joins pages to at most <paramref name="mostRanges"/> ranges of at most <paramref name="mostPages"/> pages together; larger ranges first.</summary>
    /// <param name="pages">Ascending.</param>
    /// <param name="largestHolePages">Pages that lie so near to each other are taken in one go with what is between them.</param>
    /// <returns>Ascending, apart from each other.</returns>
    public static IReadOnlyList<AddressRange> Of(IEnumerable<VirtualAddress> pages, ulong largestHolePages, int mostRanges, ulong mostPages)
    {
        var left = mostPages;
        var chosen = new List<AddressRange>();
        foreach (var range in Joined(pages, largestHolePages).OrderByDescending(range => range.PageCount))
        {
            if (chosen.Count == mostRanges)
                break;
            if (range.PageCount > left)
                continue;
            left -= range.PageCount;
            chosen.Add(range);
        }
        return [.. chosen.OrderBy(range => range.Start.Value)];
    }

    /// <summary>The pages of stored ranges.</summary>
    public static IEnumerable<VirtualAddress> PagesOf(IEnumerable<PageRange> ranges)
    {
        foreach (var range in ranges)
        {
            for (ulong i = 0; i < range.PageCount; i++)
                yield return new VirtualAddress(range.Start + (i * PageSize.Bytes));
        }
    }

    private static IEnumerable<AddressRange> Joined(IEnumerable<VirtualAddress> pages, ulong largestHolePages)
    {
        AddressRange? current = null;
        foreach (var page in pages)
        {
            var end = page + PageSize.Bytes;
            if (current is { } range && page - range.End <= largestHolePages * PageSize.Bytes)
            {
                current = new AddressRange(range.Start, end);
                continue;
            }
            if (current is { } complete)
                yield return complete;
            current = new AddressRange(page, end);
        }
        if (current is { } last)
            yield return last;
    }
}
