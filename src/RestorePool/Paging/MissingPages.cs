using Snapshots.AddressSpace;

namespace Snapshots.RestorePool.Paging;

/// <summary>A range of an address space whose pages may still lie in the image only.</summary>
/// <param name="Offset">Of the first page, in the page space of the image.</param>
internal readonly record struct MissingPiece(AddressRange Range, ulong Offset)
{
    public ulong OffsetOf(VirtualAddress address) => Offset + (address - Range.Start);

    /// <summary>The part of it within <paramref name="bounds"/>; empty when there is none.</summary>
    public MissingPiece Within(AddressRange bounds)
    {
        var part = Range.Intersect(bounds);
        return part.IsEmpty ? default : new MissingPiece(part, OffsetOf(part.Start));
    }
}

/// <summary>
/// Where the pages come from that an address space lacks: from the image, or, where no piece lies, they are zeros. Says nothing about which pages are
/// lacking: the kernel knows. Immutable, so that spaces share one until it changes, and a change is seen by comparing references.
/// </summary>
internal sealed class MissingPages
{
    private readonly MissingPiece[] _pieces;

    private MissingPages(MissingPiece[] pieces) => _pieces = pieces;

    public static MissingPages None { get; } = new([]);

    /// <summary>Ascending, apart from each other.</summary>
    public IReadOnlyList<MissingPiece> Pieces => _pieces;

    /// <param name="pieces">Ascending, apart from each other.</param>
    public static MissingPages Of(IEnumerable<MissingPiece> pieces) => new([.. pieces]);

    /// <summary>The piece at <paramref name="address"/>; null where pages are zeros.</summary>
    public MissingPiece? Find(VirtualAddress address)
    {
        var i = FirstEndingAfter(address);
        return i < _pieces.Length && _pieces[i].Range.Start <= address ? _pieces[i] : null;
    }

    /// <summary>From <paramref name="address"/>, where no piece lies, up to the next piece.</summary>
    public VirtualAddress NextPieceFrom(VirtualAddress address)
    {
        var i = FirstEndingAfter(address);
        return i < _pieces.Length ? _pieces[i].Range.Start : new VirtualAddress(PageSize.UserAddressLimit);
    }

    /// <summary>What is missing in <paramref name="range"/> is zeros from now on.</summary>
    public MissingPages Without(AddressRange range)
    {
        var first = FirstEndingAfter(range.Start);
        if (first == _pieces.Length || _pieces[first].Range.Start >= range.End)
            return this;
        var kept = new List<MissingPiece>(_pieces.Length + 1);
        kept.AddRange(_pieces.AsSpan(0, first));
        for (var i = first; i < _pieces.Length; i++)
        {
            var piece = _pieces[i];
            AddIfAny(kept, piece.Within(new AddressRange(VirtualAddress.Null, range.Start)));
            AddIfAny(kept, piece.Within(new AddressRange(range.End, new VirtualAddress(ulong.MaxValue))));
        }
        return new MissingPages([.. kept]);
    }

    /// <summary>The pages of <paramref name="range"/> have moved to <paramref name="destination"/>; both ranges are without pieces but for those that moved.</summary>
    public MissingPages Moved(AddressRange range, VirtualAddress destination)
    {
        var target = AddressRange.FromLength(destination, range.LengthBytes);
        var moving = _pieces
            .Select(piece => piece.Within(range))
            .Where(piece => !piece.Range.IsEmpty)
            .Select(piece => piece with { Range = AddressRange.FromLength(destination + (piece.Range.Start - range.Start), piece.Range.LengthBytes) })
            .ToList();
        var rest = Without(range).Without(target);
        return moving.Count == 0 ? rest : new MissingPages([.. rest._pieces.Concat(moving).OrderBy(piece => piece.Range.Start.Value)]);
    }

    private static void AddIfAny(List<MissingPiece> pieces, MissingPiece piece)
    {
        if (!piece.Range.IsEmpty)
            pieces.Add(piece);
    }

    private int FirstEndingAfter(VirtualAddress address)
    {
        int low = 0, high = _pieces.Length;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_pieces[middle].Range.End > address)
                high = middle;
            else
                low = middle + 1;
        }
        return low;
    }
}
