using System.Buffers.Binary;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// What a clone has in its page tables from its birth on (madvise(2), MADV_POPULATE_READ and MADV_POPULATE_WRITE, Linux 5.14), with a few system
/// calls instead of a page fault each: a table in the template's memory, written when it is known what all clones touch.
/// <code>
///   u64 start   u64 length in bytes, 0 ends the table   u64 advice      MaxRanges times
/// </code>
/// </summary>
internal sealed class PrefaultTable
{
    public const int MaxFileRanges = 128;

    /// <summary>Interpreters write a little everywhere: 437 pages in 271 ranges in the example worker.</summary>
    public const int MaxWrittenRanges = 512;

    private const int MaxRanges = MaxFileRanges + MaxWrittenRanges;

    private const int EntryBytes = 24;
    private const ulong MADV_POPULATE_READ = 22;
    private const ulong MADV_POPULATE_WRITE = 23;
    private readonly ProgramBuilder _builder;

    public PrefaultTable(ProgramBuilder builder)
    {
        _builder = builder;
        Address = builder.Reserve(MaxRanges * EntryBytes);
    }

    public VirtualAddress Address { get; }

    public void Emit()
    {
        var end = _builder.NewLabel("end of the working set");
        for (var i = 0UL; i < MaxRanges; i++)
        {
            var start = Address + (i * EntryBytes);
            var length = start + sizeof(ulong);
            _builder.JumpIfEqual(end, Operand.Load64(length), 0);
            // What does not succeed costs faults later, as without the table.
            _builder.Syscall(SyscallNumber.Madvise, "working set", Operand.Load64(start), Operand.Load64(length), Operand.Load64(length + sizeof(ulong))).IgnoreResult();
        }
        _builder.Mark(end);
    }

    /// <summary>The whole table.</summary>
    /// <param name="read">Ranges of mapped files to have in the page tables.</param>
    /// <param name="written">Ranges of private memory to have copies of.</param>
    public static byte[] Encode(IReadOnlyCollection<AddressRange> read, IReadOnlyCollection<AddressRange> written)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(read.Count + written.Count, MaxRanges);
        var table = new byte[MaxRanges * EntryBytes];
        var entry = table.AsSpan();
        foreach (var (range, advice) in read.Select(range => (range, MADV_POPULATE_READ)).Concat(written.Select(range => (range, MADV_POPULATE_WRITE))))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(entry, range.Start.Value);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], range.LengthBytes);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], advice);
            entry = entry[EntryBytes..];
        }
        return table;
    }
}
