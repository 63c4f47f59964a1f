using System.Buffers.Binary;
using Snapshots.AddressSpace;
using Snapshots.Linux.Layouts;

namespace Snapshots.Tracing;

/// <summary>
/// A restartable sequence (rseq(2), uapi linux/rseq.h) that a thread was stopped in. The kernel would send it to its abort handler;
/// whoever moves the thread's instruction pointer away for a while has to do the kernel's part, or keep the pointer to the section.
/// </summary>
/// <param name="Field">Address of the field rseq_cs in the thread's struct rseq.</param>
/// <param name="Section">Its value, the address of struct rseq_cs; null when the thread is in no section.</param>
/// <param name="AbortHandler">Where the thread has to go on.</param>
public readonly record struct RseqSection(VirtualAddress Field, VirtualAddress Section, VirtualAddress AbortHandler)
{
    private const ulong SectionFieldOffset = 8;
    private const int SectionBytes = 32;

    /// <summary>The section that <paramref name="registers"/> are in; null when there is none.</summary>
    public static RseqSection? Find(RseqConfiguration rseq, UserRegisters registers, TargetMemory memory)
    {
        if (rseq.Address == 0)
            return null;
        var field = new VirtualAddress(rseq.Address + SectionFieldOffset);
        var section = new VirtualAddress(memory.ReadWord(field));
        if (section.IsNull)
            return null;

        // struct rseq_cs: version 0, flags 4, start_ip 8, post_commit_offset 16, abort_ip 24.
        Span<byte> bytes = stackalloc byte[SectionBytes];
        memory.Read(section, bytes);
        var start = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]);
        var length = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        var abort = new VirtualAddress(BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
        return registers.Rip - start < length ? new RseqSection(field, section, abort) : null;
    }
}
