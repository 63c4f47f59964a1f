// kcmp(2); uapi linux/kcmp.h; Linux 3.5, KCMP_EPOLL_TFD 4.13; CONFIG_KCMP.
namespace Snapshots.Linux.Syscalls;

/// <summary>Tells whether two descriptors of a process share one open file description.</summary>
public static unsafe class Kcmp
{
    private const int KCMP_FILE = 0;
    private const int KCMP_EPOLL_TFD = 7;

    /// <summary>Orders the open files behind two descriptors of one process: 0 when they are one; the order of others is arbitrary but stable.</summary>
    /// <exception cref="LinuxException">EBADF: a descriptor is not open; EPERM: no PTRACE_MODE_READ_REALCREDS.</exception>
    public static int CompareFiles(int pid, int left, int right)
    {
        var result = RawSyscall.ThrowIfFailed(
            RawSyscall.Call(SyscallNumber.Kcmp, pid, pid, KCMP_FILE, left, right), "kcmp(KCMP_FILE)", $"pid {pid}, fds {left} and {right}");
        return result switch { 0 => 0, 1 => -1, _ => 1 };
    }

    /// <summary>Whether two threads share their descriptor table (<c>files</c>) and their working directory, root and umask (<c>fs</c>), as threads do unless they unshare(2).</summary>
    /// <exception cref="LinuxException">ESRCH: a thread is gone; EPERM: no PTRACE_MODE_READ_REALCREDS.</exception>
    public static (bool Files, bool FileSystem) ShareTables(int leftTid, int rightTid)
    {
        const int KCMP_FILES = 2;
        const int KCMP_FS = 3;
        var subject = $"threads {leftTid} and {rightTid}";
        var files = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Kcmp, leftTid, rightTid, KCMP_FILES), "kcmp(KCMP_FILES)", subject);
        var fileSystem = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Kcmp, leftTid, rightTid, KCMP_FS), "kcmp(KCMP_FS)", subject);
        return (files == 0, fileSystem == 0);
    }

    /// <summary>
    /// Whether descriptor <paramref name="fd"/> is the file that epoll <paramref name="epollFd"/> watches: the interest added under number
    /// <paramref name="targetFd"/>, the <paramref name="ordinal"/>-th of that number in the order of fdinfo.
    /// </summary>
    /// <exception cref="LinuxException">ENOENT: no such interest; EBADF: a descriptor is not open.</exception>
    public static bool IsEpollTarget(int pid, int fd, int epollFd, int targetFd, int ordinal)
    {
        // struct kcmp_epoll_slot { u32 efd; u32 tfd; u32 toff; }
        var slot = stackalloc uint[3] { (uint)epollFd, (uint)targetFd, (uint)ordinal };
        return RawSyscall.ThrowIfFailed(
            RawSyscall.Call(SyscallNumber.Kcmp, pid, pid, KCMP_EPOLL_TFD, fd, (long)slot), "kcmp(KCMP_EPOLL_TFD)", $"pid {pid}, epoll fd {epollFd}, interest in fd {targetFd}") == 0;
    }
}
