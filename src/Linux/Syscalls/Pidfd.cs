// pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2); uapi linux/pidfd.h; Linux 5.3, 5.1, 5.6.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Descriptors that stand for a process and cannot be confused with a later one of the same pid.</summary>
public static class Pidfd
{
    /// <summary>A close-on-exec pidfd; readable (poll(2)) once the process ended.</summary>
    /// <exception cref="LinuxException">ESRCH: no such process.</exception>
    public static SafeFileHandle Open(int pid)
    {
        var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.PidfdOpen, pid), "pidfd_open", $"pid {pid}");
        return new SafeFileHandle((nint)fd, ownsHandle: true);
    }

    /// <summary>Sends a signal; <see cref="Errno.ESRCH"/> says that the process is gone.</summary>
    public static Errno SendSignal(SafeFileHandle pidfd, int signal)
    {
        using var borrowed = new BorrowedDescriptor(pidfd);
        return RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.PidfdSendSignal, borrowed.Number, signal));
    }

    /// <summary>Duplicates descriptor <paramref name="fd"/> of the process into ours (close-on-exec), sharing its open file description.</summary>
    /// <exception cref="LinuxException">EBADF: the process has no such descriptor; EPERM: no PTRACE_MODE_ATTACH_REALCREDS.</exception>
    public static SafeFileHandle GetDescriptor(SafeFileHandle pidfd, int fd)
    {
        using var borrowed = new BorrowedDescriptor(pidfd);
        var copy = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.PidfdGetfd, borrowed.Number, fd), "pidfd_getfd", $"fd {fd}");
        return new SafeFileHandle((nint)copy, ownsHandle: true);
    }
}
