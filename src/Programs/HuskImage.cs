using System.Buffers.Binary;
using Iced.Intel;
using Snapshots.Linux;
using static Iced.Intel.AssemblerRegisters;

namespace Snapshots.Programs;

/// <summary>
/// The husk's executable: a static ELF of one segment whose code does one thing. It reads a <see cref="BootOrder"/> from descriptor 3, maps the
/// range it names, answers with the mapped address, waits for one more message (the program has been written meanwhile from outside), and enters the stub.
/// </summary>
internal static class HuskImage
{
    /// <summary>The husk's control socket.</summary>
    public const int ControlDescriptor = 3;

    private const ulong LoadAddress = 0x10_0000;
    private const int HeaderBytes = 64 + 56;
    private static readonly Lazy<byte[]> s_bytes = new(Assemble);

    public static ReadOnlySpan<byte> Bytes => s_bytes.Value;

    private static byte[] Assemble()
    {
        var code = BootCode();
        var elf = new byte[HeaderBytes + code.Length];
        WriteHeaders(elf);
        code.CopyTo(elf, HeaderBytes);
        return elf;
    }

    private static byte[] BootCode()
    {
        const int MapReadWriteExecute = 7;
        const int MapPrivateAnonymousFixedNoReplace = 0x02 | 0x20 | 0x10_0000;
        var code = new Assembler(64);
        var exit = code.CreateLabel("exit");
        code.sub(rsp, BootOrder.SizeBytes);
        Transfer(code, SyscallNumber.Read, BootOrder.SizeBytes);
        code.cmp(rax, BootOrder.SizeBytes);
        code.jne(exit);
        // r12..r15: range, entry, control block.
        code.mov(r12, __qword_ptr[rsp + BootOrder.StartOffset]);
        code.mov(r13, __qword_ptr[rsp + BootOrder.ControlBlockOffset]);
        code.mov(rbx, __qword_ptr[rsp + BootOrder.EntryOffset]);
        code.mov(rdi, r12);
        code.mov(rsi, __qword_ptr[rsp + BootOrder.LengthOffset]);
        code.mov(edx, MapReadWriteExecute);
        code.mov(r10d, MapPrivateAnonymousFixedNoReplace);
        code.mov(r8, -1);
        code.xor(r9d, r9d);
        code.mov(eax, (int)SyscallNumber.Mmap);
        code.syscall();
        code.mov(__qword_ptr[rsp], rax);
        Transfer(code, SyscallNumber.Write, 8);
        Transfer(code, SyscallNumber.Read, 8);
        code.cmp(rax, 8);
        code.jne(exit);
        code.add(r12, (int)Stub.EntryOffset);
        code.jmp(r12);
        code.Label(ref exit);
        code.xor(edi, edi);
        code.mov(eax, (int)SyscallNumber.ExitGroup);
        code.syscall();
        code.ud2();
        using var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), LoadAddress + HeaderBytes);
        return stream.ToArray();
    }

    private static void Transfer(Assembler code, SyscallNumber call, int lengthBytes)
    {
        code.mov(edi, ControlDescriptor);
        code.mov(rsi, rsp);
        code.mov(edx, lengthBytes);
        code.mov(eax, (int)call);
        code.syscall();
    }

    /// <summary>elf(5): ELF header of 64 bytes, one PT_LOAD program header of 56.</summary>
    private static void WriteHeaders(Span<byte> elf)
    {
        ReadOnlySpan<byte> identification = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0];
        identification.CopyTo(elf);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[16..], 2); // ET_EXEC
        BinaryPrimitives.WriteUInt16LittleEndian(elf[18..], 62); // EM_X86_64
        BinaryPrimitives.WriteUInt32LittleEndian(elf[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(elf[24..], LoadAddress + HeaderBytes); // e_entry
        BinaryPrimitives.WriteUInt64LittleEndian(elf[32..], 64); // e_phoff
        BinaryPrimitives.WriteUInt16LittleEndian(elf[52..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[56..], 1);
        var segment = elf[64..];
        BinaryPrimitives.WriteUInt32LittleEndian(segment, 1); // PT_LOAD
        BinaryPrimitives.WriteUInt32LittleEndian(segment[4..], 5); // read, execute
        BinaryPrimitives.WriteUInt64LittleEndian(segment[16..], LoadAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[24..], LoadAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], (ulong)elf.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], (ulong)elf.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[48..], 4096);
    }
}

/// <summary>The first message to a husk: range to map, entry to start at, address of the control block; four 64-bit words.</summary>
internal static class BootOrder
{
    public const int SizeBytes = 32;
    public const int StartOffset = 0;
    public const int LengthOffset = 8;
    public const int EntryOffset = 16;
    public const int ControlBlockOffset = 24;
}
