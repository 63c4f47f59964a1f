using Snapshots.Linux;
using Snapshots.Linux.Layouts;

namespace Snapshots.Tracing;

/// <summary>
/// What the kernel does to a thread that a stop interrupted inside a system call when it runs again without a signal to handle
/// (arch_do_signal_or_restart in arch/x86/kernel/signal.c), applied to a copy of its registers: they then say by themselves what comes next.
/// </summary>
public static class RestartRules
{
    /// <summary>Length of the <c>syscall</c> instruction, in bytes.</summary>
    private const ulong SyscallInstructionBytes = 2;

    /// <summary>
    /// Calls the kernel would repeat are rewound to their <c>syscall</c> instruction; a call that would continue through restart_syscall(2)
    /// (its remaining time lives in the kernel and cannot be carried) returns EINTR. The result is in no system call.
    /// </summary>
    public static UserRegisters Apply(UserRegisters registers)
    {
        if (!registers.IsInSyscall)
            return registers;
        switch ((Errno)(-(long)registers.Rax))
        {
            case Errno.ERESTARTSYS:
            case Errno.ERESTARTNOHAND:
            case Errno.ERESTARTNOINTR:
                registers.Rax = registers.OrigRax;
                registers.Rip -= SyscallInstructionBytes;
                break;
            case Errno.ERESTART_RESTARTBLOCK:
                registers.Rax = unchecked((ulong)-(long)Errno.EINTR);
                break;
        }

        registers.OrigRax = ulong.MaxValue;
        return registers;
    }
}
