using System.Text;
using Iced.Intel;
using Snapshots.Linux;
using static Iced.Intel.AssemblerRegisters;

namespace Snapshots.Programs;

/// <summary>
/// A page of code for libraries that notice a fork by the process ID: a function in place of getpid(2) that returns the process ID XOR a key.
/// A template with another key makes every library that asks believe, once in each clone, that the process has just forked; a real fork later
/// on still gives another number.
/// <code>
///   +---------------------+
///   | SNAPSHOTS-FORKID    |  magic, 16 bytes
///   | endbr64             |  called through pointers
///   | mov eax, 39         |  getpid
///   | syscall             |  clobbers rcx and r11, which belong to the caller's scratch registers
///   | xor eax, key        |
///   | ret                 |
///   +---------------------+
/// </code>
/// </summary>
/// <remarks>
/// The page is not part of the <see cref="Stub"/>'s: application code runs in it, so a later freeze must keep it, for the thread that it finds there.
/// </remarks>
public static class ForkIdentityFunction
{
    public const string Magic = "SNAPSHOTS-FORKID";

    /// <summary>Where the function begins, in bytes from the start of the page.</summary>
    public const ulong EntryOffset = 16;

    /// <summary>Keys are 31 bits wide, so that the result is a positive pid_t as well.</summary>
    public const int MaximumKey = int.MaxValue;

    /// <summary>The page, up to its last instruction.</summary>
    /// <param name="key">1 to <see cref="MaximumKey"/>.</param>
    public static byte[] Build(int key)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(key, 1);
        var code = new Assembler(64);
        code.endbr64();
        code.mov(eax, (int)SyscallNumber.Getpid);
        code.syscall();
        code.xor(eax, key);
        code.ret();
        using var stream = new MemoryStream();
        stream.Write(Encoding.ASCII.GetBytes(Magic));
        code.Assemble(new StreamCodeWriter(stream), rip: EntryOffset);
        return stream.ToArray();
    }
}
