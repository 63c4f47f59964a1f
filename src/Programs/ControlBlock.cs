using System.Buffers.Binary;
using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary>What a report over the control socket says.</summary>
public enum ReportTag
{
    /// <summary>An entry failed and the process ended.</summary>
    Failed = 1,

    /// <summary>A process was made; the result is its pid in the husk's PID namespace.</summary>
    Forked = 2,

    /// <summary>The order could not be carried out; the husk goes on.</summary>
    Refused = 3,

    /// <summary>The step that was asked for is complete.</summary>
    Ready = 4,

    /// <summary>The clone is about to leave for application code; phase times follow.</summary>
    Running = 5,
}

/// <summary>
/// The words through which a husk reports, at the start of its data region:
/// <code>
///   0x00 u64 tag      0x08 u64 order id (written by the order itself)
///   0x10 u64 entry    0x18 i64 result
///   0x20 u32 number of the control descriptor, and padding
/// </code>
/// The first four words are the report that is sent.
/// </summary>
public sealed class ControlBlock
{
    /// <summary>Bytes of a report without phase times.</summary>
    public const int ReportBytes = 0x20;

    /// <summary>Exit code of a husk whose program failed.</summary>
    public const int FailureExitCode = 127;

    internal const int TagOffset = 0x00;
    internal const int OrderOffset = 0x08;
    internal const int EntryOffset = 0x10;
    internal const int ResultOffset = 0x18;
    internal const int DescriptorOffset = 0x20;
    private const int SizeBytes = 0x28;

    /// <summary>Places the block as the first data of <paramref name="builder"/>'s program.</summary>
    public ControlBlock(ProgramBuilder builder, int controlDescriptor)
    {
        Span<byte> bytes = stackalloc byte[SizeBytes];
        bytes.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(bytes[DescriptorOffset..], controlDescriptor);
        Address = builder.Data(bytes);
        ControlDescriptor = controlDescriptor;
    }

    public VirtualAddress Address { get; }

    /// <summary>The control socket's number in the husk.</summary>
    public int ControlDescriptor { get; }

    public VirtualAddress Tag => Address + TagOffset;

    public VirtualAddress OrderId => Address + OrderOffset;

    public VirtualAddress Entry => Address + EntryOffset;

    public VirtualAddress Result => Address + ResultOffset;

    public VirtualAddress DescriptorWord => Address + DescriptorOffset;
}

/// <summary>A report as received from a husk.</summary>
public readonly record struct HuskReport(ReportTag Tag, ulong OrderId, VirtualAddress Entry, long Result)
{
    /// <summary>Decodes the first <see cref="ControlBlock.ReportBytes"/> bytes of a message.</summary>
    public static HuskReport Decode(ReadOnlySpan<byte> message) => new(
        (ReportTag)BinaryPrimitives.ReadUInt64LittleEndian(message),
        BinaryPrimitives.ReadUInt64LittleEndian(message[8..]),
        new VirtualAddress(BinaryPrimitives.ReadUInt64LittleEndian(message[16..])),
        BinaryPrimitives.ReadInt64LittleEndian(message[24..]));
}
