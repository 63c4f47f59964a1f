// waitid(2); uapi linux/wait.h; P_PIDFD since Linux 5.4.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Waits for children of this process, one at a time and by pidfd, so that no other component's child is ever reaped.</summary>
/// <remarks>
/// waitid(2) is asked only when the child has ended: of one that a thread of ours traces it would tell, and so take away, the stops as well, whatever its options.
/// </remarks>
public static unsafe class WaitId
{
    private const int P_PIDFD = 3;
    private const int WNOHANG = 1;
    private const int WEXITED = 4;
    private const int CLD_EXITED = 1;

    /// <summary>Blocks until the child ended and reaps it.</summary>
    /// <exception cref="LinuxException">ECHILD: not a child of ours, or reaped already.</exception>
    public static ExitStatus ForExit(SafeFileHandle pidfd, string subject)
    {
        Poll.UntilReadable(pidfd);
        return Wait(pidfd, WEXITED, subject) ?? throw new LinuxException("waitid", Errno.ECHILD, subject);
    }

    /// <summary>Reaps the child if it has ended; null while it runs.</summary>
    public static ExitStatus? TryForExit(SafeFileHandle pidfd, string subject) =>
        Poll.IsReadable(pidfd, TimeSpan.Zero) ? Wait(pidfd, WEXITED | WNOHANG, subject) : null;

    private static ExitStatus? Wait(SafeFileHandle pidfd, int options, string subject)
    {
        using var borrowed = new BorrowedDescriptor(pidfd);
        // siginfo_t: si_signo 0, si_errno 4, si_code 8, si_pid 16, si_uid 20, si_status 24; 128 bytes.
        var info = stackalloc int[32];
        new Span<int>(info, 32).Clear();
        long result;
        do
        {
            result = RawSyscall.Call(SyscallNumber.Waitid, P_PIDFD, borrowed.Number, (long)info, options);
        }
        while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
        RawSyscall.ThrowIfFailed(result, "waitid", subject);
        return info[4] == 0 ? null : new ExitStatus(info[2] != CLD_EXITED, info[6]);
    }
}
