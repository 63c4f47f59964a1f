// get_robust_list(2), uapi linux/futex.h; since 2.6.17. Allowed for whoever may ptrace the thread.
namespace Snapshots.Linux.Syscalls;

/// <summary>The list of robust futexes that the kernel walks when a thread dies.</summary>
public static unsafe class RobustList
{
    /// <exception cref="LinuxException">The thread is gone, or it may not be inspected.</exception>
    public static (ulong Head, ulong LengthBytes) Get(int tid)
    {
        ulong head;
        ulong length;
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.GetRobustList, tid, (long)&head, (long)&length), "get_robust_list", $"thread {tid}");
        return (head, length);
    }
}
