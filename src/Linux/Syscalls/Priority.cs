// setpriority(2), PRIO_PROCESS; since Linux 1.3.
namespace Snapshots.Linux.Syscalls;

/// <summary>The nice value of a thread.</summary>
public static class Priority
{
    private const int PRIO_PROCESS = 0;

    /// <summary>The value that gives way to everybody else.</summary>
    public const int Lowest = 19;

    /// <summary>Sets the nice value, -20 to 19, of a thread; a smaller one than it has needs CAP_SYS_NICE.</summary>
    /// <returns>ESRCH: it is gone; EACCES, EPERM.</returns>
    public static Errno Set(int tid, int nice) =>
        RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.Setpriority, PRIO_PROCESS, tid, nice));
}
