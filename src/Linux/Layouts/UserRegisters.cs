using System.Runtime.InteropServices;

namespace Snapshots.Linux.Layouts;

/// <summary>struct user_regs_struct of x86-64 (sys/user.h), the NT_PRSTATUS regset of ptrace(2): 27 words, 216 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 8, Size = SizeBytes)]
public struct UserRegisters
{
    public const int SizeBytes = 216;

    public ulong R15;
    public ulong R14;
    public ulong R13;
    public ulong R12;
    public ulong Rbp;
    public ulong Rbx;
    public ulong R11;
    public ulong R10;
    public ulong R9;
    public ulong R8;
    public ulong Rax;
    public ulong Rcx;
    public ulong Rdx;
    public ulong Rsi;
    public ulong Rdi;

    /// <summary>Number of the system call the thread is in; negative when it is in none (or an interrupt brought it into the kernel).</summary>
    public ulong OrigRax;
    public ulong Rip;
    public ulong Cs;
    public ulong Eflags;
    public ulong Rsp;
    public ulong Ss;
    public ulong FsBase;
    public ulong GsBase;
    public ulong Ds;
    public ulong Es;
    public ulong Fs;
    public ulong Gs;

    /// <summary>Whether the thread was stopped inside a system call.</summary>
    public readonly bool IsInSyscall => (long)OrigRax >= 0;

    /// <summary>A selector of 64-bit user code; 32-bit code runs with 0x23.</summary>
    public readonly bool IsLongMode => Cs == 0x33;

    /// <summary>The 216 bytes as the kernel lays them out.</summary>
    public readonly byte[] ToBytes() => MemoryMarshal.AsBytes(new ReadOnlySpan<UserRegisters>(in this)).ToArray();

    public static UserRegisters FromBytes(ReadOnlySpan<byte> bytes) => MemoryMarshal.Read<UserRegisters>(bytes);
}
