using CsCheck;
using Xunit;

namespace Snapshots.AddressSpace.Tests;

public sealed class AddressRangeTests
{
    private static readonly Gen<AddressRange> Ranges =
        Gen.Select(Gen.ULong[0, 40], Gen.ULong[0, 20]).Select((start, length) => AddressRange.FromLength(new VirtualAddress(start), length));

    [Fact]
    public void A_range_contains_exactly_the_addresses_from_its_start_to_before_its_end() =>
        Gen.Select(Ranges, Gen.ULong[0, 64]).Sample((range, at) =>
            range.Contains(new VirtualAddress(at)) == (at >= range.Start.Value && at < range.End.Value));

    [Fact]
    public void An_intersection_holds_what_both_hold() =>
        Gen.Select(Ranges, Ranges, Gen.ULong[0, 64]).Sample((a, b, at) =>
            a.Intersect(b).Contains(new VirtualAddress(at)) == (a.Contains(new VirtualAddress(at)) && b.Contains(new VirtualAddress(at))));

    [Fact]
    public void Ranges_with_bytes_overlap_when_their_intersection_has_some() =>
        Gen.Select(Ranges, Ranges).Where((a, b) => !a.IsEmpty && !b.IsEmpty).Sample((a, b) => a.Overlaps(b) == !a.Intersect(b).IsEmpty && a.Overlaps(b) == b.Overlaps(a));

    [Fact]
    public void A_range_contains_its_intersections() =>
        Gen.Select(Ranges, Ranges).Where((a, b) => !a.Intersect(b).IsEmpty).Sample((a, b) => a.Contains(a.Intersect(b)) && b.Contains(a.Intersect(b)));

    [Fact]
    public void An_end_below_the_start_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new AddressRange(new VirtualAddress(2), new VirtualAddress(1)));

    [Fact]
    public void Is_written_as_in_maps() =>
        Assert.Equal("7ffd47dc0000-7ffd47de1000", new AddressRange(new VirtualAddress(0x7ffd47dc0000), new VirtualAddress(0x7ffd47de1000)).ToString());
}

public sealed class VirtualAddressTests
{
    [Fact]
    public void Alignment_goes_to_the_page_below_and_above() =>
        Gen.ULong[0, PageSize.UserAddressLimit].Sample(value =>
        {
            var address = new VirtualAddress(value);
            var (down, up) = (address.AlignDown(PageSize.Bytes), address.AlignUp(PageSize.Bytes));
            Assert.True(down.IsPageAligned && up.IsPageAligned && down <= address && address <= up && up - down <= PageSize.Bytes);
            Assert.Equal(address.IsPageAligned, up == down);
        });

    [Fact]
    public void Arithmetic_never_wraps_around()
    {
        var last = new VirtualAddress(ulong.MaxValue);
        Assert.Throws<OverflowException>(() => last + 1);
        Assert.Throws<OverflowException>(() => VirtualAddress.Null - 1);
        Assert.Throws<OverflowException>(() => VirtualAddress.Null - last);
        Assert.Throws<OverflowException>(() => last.AlignUp(PageSize.Bytes));
        Assert.Throws<OverflowException>(() => AddressRange.FromLength(last, 1));
    }

    [Fact]
    public void Order_and_text_follow_the_value()
    {
        Assert.Equal("0x7f00", new VirtualAddress(0x7f00).ToString());
        Gen.Select(Gen.ULong, Gen.ULong).Sample((a, b) =>
            (new VirtualAddress(a) < new VirtualAddress(b)) == (a < b) && new VirtualAddress(a).CompareTo(new VirtualAddress(b)) == a.CompareTo(b));
    }
}
