using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary>How the stub obtains an operand of an entry.</summary>
public enum OperandKind
{
    /// <summary>The value itself.</summary>
    Literal = 0,

    /// <summary>The sign-extended 32-bit word at the address, read when the entry runs (a received descriptor, a flag).</summary>
    Load32 = 1,

    /// <summary>The 64-bit word at the address, read when the entry runs (an earlier result).</summary>
    Load64 = 2,
}

/// <summary>One of the six operands of a program entry.</summary>
public readonly record struct Operand(OperandKind Kind, ulong Value)
{
    public static implicit operator Operand(int value) => new(OperandKind.Literal, (ulong)(long)value);

    public static implicit operator Operand(uint value) => new(OperandKind.Literal, value);

    public static implicit operator Operand(long value) => new(OperandKind.Literal, (ulong)value);

    public static implicit operator Operand(ulong value) => new(OperandKind.Literal, value);

    public static implicit operator Operand(VirtualAddress address) => new(OperandKind.Literal, address.Value);

    public static Operand Load32(VirtualAddress address) => new(OperandKind.Load32, address.Value);

    public static Operand Load64(VirtualAddress address) => new(OperandKind.Load64, address.Value);
}
