using System.Buffers.Binary;
using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary>
/// The encoding of an entry that the stub reads:
/// <code>
///   0x00 u32 operation           0x04 u32 operand kinds, two bits each from bit 0
///   0x08 u64 operand[6]          0x38 u64 result address, 0 for none
///   0x40 u32 expectation         0x44 u32 unused
///   0x48 u64 expected value      0x50 u64 entry to continue at on failure, 0 for report and exit
///   0x58 u64 unused
/// </code>
/// </summary>
internal static class EntryLayout
{
    public const ulong SizeBytes = 0x60;
    public const int Kinds = 0x04;
    public const int FirstOperand = 0x08;
    public const int ResultAddress = 0x38;
    public const int Expectation = 0x40;
    public const int ExpectedValue = 0x48;
    public const int OnError = 0x50;

    public static void Encode(Entry entry, Func<Label, VirtualAddress> addressOf, Span<byte> destination)
    {
        uint kinds = 0;
        for (var i = 0; i < entry.Operands.Count; i++)
        {
            var operand = i == 0 && entry.Target is { } target ? (Operand)addressOf(target) : entry.Operands[i];
            kinds |= (uint)operand.Kind << (2 * i);
            BinaryPrimitives.WriteUInt64LittleEndian(destination[(FirstOperand + (8 * i))..], operand.Value);
        }
        BinaryPrimitives.WriteUInt32LittleEndian(destination, entry.Operation);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[Kinds..], kinds);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[ResultAddress..], entry.ResultAddress.Value);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[Expectation..], (uint)entry.Expectation);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[ExpectedValue..], entry.ExpectedValue);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[OnError..], entry.OnError is { } label ? addressOf(label).Value : 0);
    }
}
