using CsCheck;
using Snapshots.AddressSpace;
using Snapshots.RestorePool.WorkingSets;
using Xunit;

namespace Snapshots.RestorePool.Tests;

public class PageRangesTests
{
    private static readonly Gen<VirtualAddress[]> GenPages =
        Gen.ULong[0, 400].HashSet[0, 120].Select(pages => pages.Order().Select(page => new VirtualAddress(page * PageSize.Bytes)).ToArray());

    [Fact]
    public void Without_limits_every_page_is_in_one_range_and_no_hole_is_larger_than_allowed() =>
        Gen.Select(GenPages, Gen.ULong[0, 5]).Sample((pages, hole) =>
        {
            var ranges = PageRanges.Of(pages, hole, int.MaxValue, ulong.MaxValue);
            Assert.All(pages, page => Assert.Single(ranges, range => range.Contains(page)));
            Assert.All(ranges, range => Assert.True(pages.Contains(range.Start) && pages.Contains(range.End - PageSize.Bytes)));
            Assert.All(ranges.Zip(ranges.Skip(1)), pair => Assert.True(pair.Second.Start - pair.First.End > hole * PageSize.Bytes));
        });

    [Fact]
    public void Limits_are_kept_and_larger_ranges_come_first() =>
        Gen.Select(GenPages, Gen.Int[0, 10], Gen.ULong[0, 60]).Sample((pages, mostRanges, mostPages) =>
        {
            var all = PageRanges.Of(pages, 1, int.MaxValue, ulong.MaxValue);
            var chosen = PageRanges.Of(pages, 1, mostRanges, mostPages);
            Assert.True(chosen.Count <= mostRanges && chosen.Aggregate(0UL, (sum, range) => sum + range.PageCount) <= mostPages);
            Assert.All(chosen, range => Assert.Contains(range, all));
            var largest = all.Select(range => range.PageCount).Where(count => count <= mostPages).DefaultIfEmpty().Max();
            if (mostRanges > 0 && largest > 0)
                Assert.Contains(chosen, range => range.PageCount == largest);
        });
}
