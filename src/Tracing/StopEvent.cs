namespace Snapshots.Tracing;

/// <summary>Why a traced thread stopped, decoded from what waitid(2) reports to a tracer.</summary>
public enum StopKind
{
    /// <summary>We asked for it (PTRACE_INTERRUPT).</summary>
    Interrupt,

    /// <summary>Job control stopped the whole process (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU); it stays stopped when let go.</summary>
    Group,

    /// <summary>A signal is about to be delivered; letting the thread continue without it would lose it.</summary>
    Signal,

    /// <summary>Entry into or exit from a system call.</summary>
    Syscall,

    /// <summary>The thread is about to end; its memory is still there (PTRACE_O_TRACEEXIT).</summary>
    Exit,

    /// <summary>The thread is gone.</summary>
    Gone,
}

/// <summary>One stop of a traced thread.</summary>
/// <param name="Kind">Why it stopped.</param>
/// <param name="Signal">The signal to be delivered, or the one that stopped the group; else 0.</param>
public readonly record struct StopEvent(StopKind Kind, int Signal)
{
    private const int SIGTRAP = 5;
    private const int SyscallStopBit = 0x80;

    /// <param name="status">si_status of waitid(2): signal in bits 0..7, ptrace event in bits 8..15.</param>
    public static StopEvent FromStatus(int status)
    {
        var signal = status & 0xff;
        var ptraceEvent = (status >> 8) & 0xff;
        if (ptraceEvent == Linux.Syscalls.Ptrace.EVENT_EXIT)
            return new StopEvent(StopKind.Exit, 0);
        if (ptraceEvent == Linux.Syscalls.Ptrace.EVENT_STOP)
            return signal == SIGTRAP ? new StopEvent(StopKind.Interrupt, 0) : new StopEvent(StopKind.Group, signal);
        return signal == (SIGTRAP | SyscallStopBit) ? new StopEvent(StopKind.Syscall, 0) : new StopEvent(StopKind.Signal, signal);
    }
}
