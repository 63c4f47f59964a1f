using System.Buffers.Binary;
using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Linux;

namespace Snapshots.Programs;

/// <summary>
/// Writes one program and the data it refers to. Addresses are final from the first call: entries and data live in two regions whose
/// bases and capacities are fixed when the builder is made, so an operand is always a plain number.
/// </summary>
/// <remarks>Not thread-safe. A builder is used once: <see cref="Build"/> ends it.</remarks>
public sealed class ProgramBuilder
{
    private readonly ProgramLayout _layout;
    private readonly List<Entry> _entries = [];
    private readonly MemoryStream _data = new();

    public ProgramBuilder(ProgramLayout layout) => _layout = layout;

    /// <summary>Entries written so far.</summary>
    public int EntryCount => _entries.Count;

    public ProgramLayout Layout => _layout;

    /// <summary>Appends a system call about <paramref name="subject"/>; it must succeed unless the returned entry is told otherwise.</summary>
    public Entry Syscall(SyscallNumber number, string subject, params ReadOnlySpan<Operand> operands) =>
        Add(new Entry((uint)number, subject, Checked(operands)));

    public Entry Store(VirtualAddress destination, Operand value) =>
        Add(new Entry((uint)PseudoCall.Store, "program state", [destination, value]).IgnoreResult());

    public Entry Copy(VirtualAddress destination, VirtualAddress source, ulong lengthBytes, string subject) =>
        Add(new Entry((uint)PseudoCall.Copy, subject, [destination, source, lengthBytes]).IgnoreResult());

    /// <summary>Atomic 32-bit addition; the result is the value before.</summary>
    public Entry AtomicAdd(VirtualAddress counter, int addend, string subject) =>
        Add(new Entry((uint)PseudoCall.AtomicAdd, subject, [counter, addend]).IgnoreResult());

    public void Jump(Label target) =>
        Add(new Entry((uint)PseudoCall.Jump, target.Name, [0]) { Target = target }.IgnoreResult());

    /// <summary>Continues in another program of the same process, at a known address.</summary>
    public void JumpTo(VirtualAddress entry, string subject) =>
        Add(new Entry((uint)PseudoCall.Jump, subject, [entry]).IgnoreResult());

    /// <summary>Jumps when the result of the entry before is zero, e.g. in the child of clone3.</summary>
    public void JumpIfLastZero(Label target) =>
        Add(new Entry((uint)PseudoCall.JumpIfLastZero, target.Name, [0]) { Target = target }.IgnoreResult());

    public void JumpIfEqual(Label target, Operand left, Operand right) =>
        Add(new Entry((uint)PseudoCall.JumpIfEqual, target.Name, [0, left, right]) { Target = target }.IgnoreResult());

    /// <summary>Ends this thread's program: see <see cref="PseudoCall.Leave"/>.</summary>
    public void Leave(VirtualAddress signalFrame, VirtualAddress counter, AddressRange unmap) =>
        Add(new Entry((uint)PseudoCall.Leave, $"signal frame {signalFrame}", [signalFrame, counter, unmap.Start, unmap.LengthBytes]).IgnoreResult());

    /// <summary>Continues in another program, with the stub that lies there: see <see cref="PseudoCall.Enter"/>.</summary>
    public void Enter(Operand entry, Operand stub, Operand controlBlock, string subject) =>
        Add(new Entry((uint)PseudoCall.Enter, subject, [entry, stub, controlBlock]).IgnoreResult());

    public Label NewLabel(string name) => new(name);

    /// <summary>Places <paramref name="label"/> at the next entry.</summary>
    public void Mark(Label label)
    {
        if (label.EntryIndex is not null)
            throw new InvalidOperationException($"label {label.Name} is placed twice");
        label.EntryIndex = _entries.Count;
    }

    /// <summary>Appends bytes to the data region, aligned to <paramref name="alignment"/> (a power of two), and returns where they will be.</summary>
    public VirtualAddress Data(ReadOnlySpan<byte> bytes, int alignment = 8)
    {
        var address = Reserve((ulong)bytes.Length, alignment);
        _data.Position = (long)(address - _layout.Data.Start);
        _data.Write(bytes);
        return address;
    }

    /// <summary>Reserves zeroed bytes in the data region.</summary>
    public VirtualAddress Reserve(ulong lengthBytes, int alignment = 8)
    {
        var offset = (_data.Length + alignment - 1) & -alignment;
        if ((ulong)offset + lengthBytes > _layout.Data.LengthBytes)
            throw new ProgramTooLargeException($"the program's data needs more than {_layout.Data.LengthBytes} bytes");
        _data.SetLength(offset + (long)lengthBytes);
        return _layout.Data.Start + (ulong)offset;
    }

    /// <summary>A NUL-terminated UTF-8 string in the data region.</summary>
    public VirtualAddress Text(string value)
    {
        if (value.Contains('\0', StringComparison.Ordinal))
            throw new ArgumentException("a C string cannot hold NUL", nameof(value));
        return Data(Encoding.UTF8.GetBytes(value + '\0'), alignment: 1);
    }

    /// <summary>A 64-bit word in the data region, for results or constants passed by address.</summary>
    public VirtualAddress Word(ulong value = 0)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Data(bytes);
    }

    /// <summary>An array of 64-bit words in the data region.</summary>
    public VirtualAddress Words(params ReadOnlySpan<ulong> values)
    {
        var bytes = new byte[values.Length * 8];
        for (var i = 0; i < values.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i * 8), values[i]);
        return Data(bytes);
    }

    /// <summary>Resolves jumps and encodes the program.</summary>
    /// <exception cref="InvalidOperationException">A jump names a label that was never placed.</exception>
    /// <exception cref="ProgramTooLargeException">More entries than the layout has room for.</exception>
    public RestoreProgram Build()
    {
        if ((ulong)_entries.Count * EntryLayout.SizeBytes > _layout.Entries.LengthBytes)
            throw new ProgramTooLargeException($"the program has {_entries.Count} entries; its region holds {_layout.Entries.LengthBytes / EntryLayout.SizeBytes}");
        var code = new byte[_entries.Count * (int)EntryLayout.SizeBytes];
        for (var i = 0; i < _entries.Count; i++)
            EntryLayout.Encode(_entries[i], AddressOf, code.AsSpan(i * (int)EntryLayout.SizeBytes));
        return new RestoreProgram(_layout, [.. _entries], code, _data.ToArray());
    }

    /// <summary>Address of the entry that <paramref name="label"/> marks; the label must be placed.</summary>
    public VirtualAddress AddressOf(Label label)
    {
        var index = label.EntryIndex ?? throw new InvalidOperationException($"label {label.Name} was never placed");
        return _layout.Entries.Start + ((ulong)index * EntryLayout.SizeBytes);
    }

    private Entry Add(Entry entry)
    {
        _entries.Add(entry);
        return entry;
    }

    private static Operand[] Checked(ReadOnlySpan<Operand> operands) =>
        operands.Length <= 6 ? operands.ToArray() : throw new ArgumentException("a system call has at most six operands", nameof(operands));
}

/// <summary>A program does not fit into the region laid out for it.</summary>
public sealed class ProgramTooLargeException(string message) : Exception(message);
