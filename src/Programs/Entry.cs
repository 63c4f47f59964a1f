using Snapshots.AddressSpace;
using Snapshots.Linux;

namespace Snapshots.Programs;

/// <summary>One step of a program: a system call or a <see cref="PseudoCall"/> with its operands. Made by <see cref="ProgramBuilder"/>.</summary>
public sealed class Entry
{
    internal Entry(uint operation, string subject, Operand[] operands)
    {
        Operation = operation;
        Subject = subject;
        Operands = operands;
    }

    /// <summary>A <see cref="SyscallNumber"/>, or a <see cref="PseudoCall"/> when the top bit is set.</summary>
    public uint Operation { get; }

    /// <summary>The object being restored ("fd 7 (/var/log/app.log)", "mapping 7f00..-7f01.. [heap]"), for error reports.</summary>
    public string Subject { get; }

    public IReadOnlyList<Operand> Operands { get; }

    public Expectation Expectation { get; private set; }

    public ulong ExpectedValue { get; private set; }

    /// <summary>Where the 64-bit result is stored; null when it is not needed.</summary>
    public VirtualAddress ResultAddress { get; private set; }

    /// <summary>Where the program continues when the entry fails; null reports the failure and ends the process.</summary>
    public Label? OnError { get; private set; }

    /// <summary>The label a jump goes to, when operand 0 is one.</summary>
    internal Label? Target { get; init; }

    public bool IsSyscall => (Operation & 0x8000_0000) == 0;

    /// <summary>The name strace would print.</summary>
    public string OperationName => IsSyscall ? SyscallNames.NameOf((SyscallNumber)Operation) : ((PseudoCall)Operation).ToString();

    /// <summary>Stores the result of the entry as a 64-bit word at <paramref name="address"/>.</summary>
    public Entry StoreTo(VirtualAddress address)
    {
        ResultAddress = address;
        return this;
    }

    /// <summary>Fails unless the result is exactly <paramref name="value"/>.</summary>
    public Entry ExpectValue(long value)
    {
        Expectation = Expectation.Value;
        ExpectedValue = (ulong)value;
        return this;
    }

    /// <summary>Makes the entry unable to fail. Say why at the call.</summary>
    public Entry IgnoreResult()
    {
        Expectation = Expectation.Anything;
        return this;
    }

    /// <summary>Continues at <paramref name="label"/> instead of reporting when the entry fails.</summary>
    public Entry OnErrorGoto(Label label)
    {
        OnError = label;
        return this;
    }
}

/// <summary>A place in a program that jumps can name before it is known.</summary>
public sealed class Label
{
    internal Label(string name) => Name = name;

    public string Name { get; }

    internal int? EntryIndex { get; set; }
}
