// tgkill(2) and kill(2), uapi asm/signal.h; tgkill since 2.5.75.
namespace Snapshots.Linux.Syscalls;

/// <summary>Signals to processes and threads named by number. Safe only while the target cannot vanish: it is traced, or our unreaped child.</summary>
public static class ThreadSignal
{
    public const int SIGKILL = 9;
    public const int SIGCONT = 18;
    public const int SIGSTOP = 19;

    public static Errno SendToThread(int pid, int tid, int signal) =>
        RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.Tgkill, pid, tid, signal));

    public static Errno SendToProcess(int pid, int signal) => RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.Kill, pid, signal));
}
