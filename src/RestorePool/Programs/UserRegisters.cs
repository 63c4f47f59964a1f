using System.Buffers.Binary;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>The words of <c>struct user_regs_struct</c> (sys/user.h) that are asked for by name.</summary>
internal static class UserRegisters
{
    private const int InstructionPointerOffset = 128;
    private const int FsBaseOffset = 168;
    private const int GsBaseOffset = 176;

    public static ulong InstructionPointer(ThreadImage thread) => BinaryPrimitives.ReadUInt64LittleEndian(thread.Registers.Span[InstructionPointerOffset..]);

    public static ulong FsBase(ThreadImage thread) => BinaryPrimitives.ReadUInt64LittleEndian(thread.Registers.Span[FsBaseOffset..]);

    public static ulong GsBase(ThreadImage thread) => BinaryPrimitives.ReadUInt64LittleEndian(thread.Registers.Span[GsBaseOffset..]);
}
