using System.Globalization;

namespace Snapshots.AddressSpace;

/// <summary>A half-open range <c>[Start, End)</c> of addresses, as a line of <c>/proc/PID/maps</c> gives it.</summary>
public readonly record struct AddressRange
{
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="end"/> lies below <paramref name="start"/>.</exception>
    public AddressRange(VirtualAddress start, VirtualAddress end)
    {
        if (end < start)
            throw new ArgumentOutOfRangeException(nameof(end), $"range end {end} lies below its start {start}");
        Start = start;
        End = end;
    }

    public static AddressRange FromLength(VirtualAddress start, ulong lengthBytes) => new(start, start + lengthBytes);

    public VirtualAddress Start { get; }

    /// <summary>First address behind the range.</summary>
    public VirtualAddress End { get; }

    public ulong LengthBytes => End - Start;

    public ulong PageCount => LengthBytes / PageSize.Bytes;

    public bool IsEmpty => Start == End;

    public bool IsPageAligned => Start.IsPageAligned && End.IsPageAligned;

    public bool Contains(VirtualAddress address) => address >= Start && address < End;

    public bool Contains(AddressRange other) => other.Start >= Start && other.End <= End;

    public bool Overlaps(AddressRange other) => Start < other.End && other.Start < End;

    public AddressRange Intersect(AddressRange other)
    {
        var start = Start > other.Start ? Start : other.Start;
        var end = End < other.End ? End : other.End;
        return start >= end ? new AddressRange(start, start) : new AddressRange(start, end);
    }

    /// <summary><c>start-end</c> in hexadecimal as in <c>/proc/PID/maps</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Start.Value:x}-{End.Value:x}");
}
