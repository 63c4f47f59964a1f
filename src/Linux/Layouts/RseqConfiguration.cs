using System.Runtime.InteropServices;

namespace Snapshots.Linux.Layouts;

/// <summary>struct ptrace_rseq_configuration (linux/ptrace.h): a thread's registration with rseq(2); all zero when it has none.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeBytes)]
public struct RseqConfiguration
{
    public const int SizeBytes = 24;

    [FieldOffset(0)]
    public ulong Address;

    [FieldOffset(8)]
    public uint LengthBytes;

    [FieldOffset(12)]
    public uint Signature;

    [FieldOffset(16)]
    public uint Flags;
}
