using Snapshots.Linux;

namespace Snapshots.Programs;

/// <summary>Appends entries by which a program reports over its control socket.</summary>
public static class ReportWriter
{
    /// <summary>Sends a report whose result is what <paramref name="result"/> loads.</summary>
    public static void Emit(ProgramBuilder builder, ControlBlock control, ReportTag tag, Operand? result = null)
    {
        builder.Store(control.Tag, (int)tag);
        if (result is { } value)
            builder.Store(control.Result, value);
        builder.Syscall(SyscallNumber.Write, $"report {tag}", control.ControlDescriptor, control.Address, ControlBlock.ReportBytes);
    }
}
