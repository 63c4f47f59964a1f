using CsCheck;
using Snapshots.AddressSpace;
using Snapshots.RestorePool.Paging;
using Xunit;

namespace Snapshots.RestorePool.Tests.Paging;

/// <summary>Against an address space of 64 pages in a dictionary.</summary>
public class MissingPagesTests
{
    private const ulong Pages = 64;

    /// <summary>Lengths of pieces and of the gaps before them.</summary>
    private static readonly Gen<(ulong Gap, ulong Length)[]> GenLayout = Gen.Select(Gen.ULong[1, 6], Gen.ULong[1, 8]).Array[0, 6];

    private static readonly Gen<(int Kind, ulong Start, ulong Length, ulong To)[]> GenChanges =
        Gen.Select(Gen.Int[0, 1], Gen.ULong[0, Pages - 1], Gen.ULong[1, 12], Gen.ULong[0, Pages - 1]).Array[0, 12];

    [Fact]
    public void What_is_dropped_is_zeros_and_what_moves_keeps_its_pages() =>
        Gen.Select(GenLayout, GenChanges).Sample((layout, changes) =>
        {
            var (missing, model) = Make(layout);
            foreach (var (kind, start, length, to) in changes)
            {
                var range = Range(start, length);
                if (kind == 0)
                {
                    missing = missing.Without(range);
                    for (var page = start; page < start + length; page++)
                        model.Remove(page);
                    continue;
                }
                // mremap(2) refuses ranges that overlap.
                if (range.Overlaps(Range(to, length)))
                    continue;
                missing = missing.Moved(range, At(to));
                for (ulong i = 0; i < length; i++)
                {
                    model.Remove(to + i);
                    if (model.Remove(start + i, out var offset))
                        model[to + i] = offset;
                }
            }
            Check(missing, model);
        });

    [Fact]
    public void A_change_that_concerns_no_piece_changes_nothing() =>
        GenLayout.Sample(layout =>
        {
            var (missing, _) = Make(layout);
            var end = missing.Pieces.Count == 0 ? At(0) : missing.Pieces[^1].Range.End;
            Assert.Same(missing, missing.Without(AddressRange.FromLength(end, PageSize.Bytes)));
        });

    private static void Check(MissingPages missing, Dictionary<ulong, ulong> model)
    {
        for (ulong page = 0; page < 2 * Pages; page++)
        {
            var piece = missing.Find(At(page));
            Assert.Equal(model.TryGetValue(page, out var offset) ? offset : null, piece?.OffsetOf(At(page)));
            if (piece is null)
            {
                var next = Enumerable.Range((int)page, (int)(3 * Pages)).Where(candidate => model.ContainsKey((ulong)candidate)).Select(candidate => (ulong)candidate);
                Assert.Equal(next.Any() ? At(next.First()) : new VirtualAddress(PageSize.UserAddressLimit), missing.NextPieceFrom(At(page)));
            }
        }
        Assert.All(missing.Pieces.Zip(missing.Pieces.Skip(1)), pair => Assert.True(pair.First.Range.End <= pair.Second.Range.Start));
    }

    private static (MissingPages Missing, Dictionary<ulong, ulong> Model) Make((ulong Gap, ulong Length)[] layout)
    {
        var model = new Dictionary<ulong, ulong>();
        var pieces = new List<MissingPiece>();
        ulong page = 0, offset = 1000 * PageSize.Bytes;
        foreach (var (gap, length) in layout)
        {
            page += gap;
            pieces.Add(new MissingPiece(Range(page, length), offset));
            for (ulong i = 0; i < length; i++)
                model.Add(page + i, offset + (i * PageSize.Bytes));
            page += length;
            offset += (length + gap) * PageSize.Bytes;
        }
        return (MissingPages.Of(pieces), model);
    }

    private static VirtualAddress At(ulong page) => new((page + 1) * PageSize.Bytes);

    private static AddressRange Range(ulong page, ulong length) => AddressRange.FromLength(At(page), length * PageSize.Bytes);
}
