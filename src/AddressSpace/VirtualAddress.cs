using System.Globalization;

namespace Snapshots.AddressSpace;

/// <summary>
/// An address in some process's user address space, never a pointer of ours: it can be compared, moved and written down, not dereferenced.
/// </summary>
public readonly record struct VirtualAddress(ulong Value) : IComparable<VirtualAddress>
{
    /// <summary>The address zero; kernel interfaces use it for "none".</summary>
    public static VirtualAddress Null => default;

    public bool IsNull => Value == 0;

    public bool IsPageAligned => (Value & (PageSize.Bytes - 1)) == 0;

    public VirtualAddress AlignDown(ulong alignmentBytes) => new(Value & ~(alignmentBytes - 1));

    public VirtualAddress AlignUp(ulong alignmentBytes) => new(checked(Value + alignmentBytes - 1) & ~(alignmentBytes - 1));

    public int CompareTo(VirtualAddress other) => Value.CompareTo(other.Value);

    public static VirtualAddress operator +(VirtualAddress address, ulong offsetBytes) => new(checked(address.Value + offsetBytes));

    public static VirtualAddress operator -(VirtualAddress address, ulong offsetBytes) => new(checked(address.Value - offsetBytes));

    /// <summary>Distance in bytes; <paramref name="left"/> must not lie below <paramref name="right"/>.</summary>
    public static ulong operator -(VirtualAddress left, VirtualAddress right) => checked(left.Value - right.Value);

    public static bool operator <(VirtualAddress left, VirtualAddress right) => left.Value < right.Value;

    public static bool operator >(VirtualAddress left, VirtualAddress right) => left.Value > right.Value;

    public static bool operator <=(VirtualAddress left, VirtualAddress right) => left.Value <= right.Value;

    public static bool operator >=(VirtualAddress left, VirtualAddress right) => left.Value >= right.Value;

    /// <summary>Hexadecimal as in <c>/proc/PID/maps</c>, with a <c>0x</c> prefix.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}
