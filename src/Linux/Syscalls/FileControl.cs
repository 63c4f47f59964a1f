// fcntl(2), ioctl(2) FIONREAD; uapi linux/fcntl.h, asm-generic/ioctls.h; F_GET_SEALS Linux 3.17, F_GETPIPE_SZ 2.6.35.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Asks an open file about itself.</summary>
public static unsafe class FileControl
{
    private const int F_GETFL = 3;
    private const int F_SETPIPE_SZ = 1031;
    private const int F_GETPIPE_SZ = 1032;
    private const int F_GET_SEALS = 1034;
    private const int FIONREAD = 0x541b;

    /// <summary>Access mode and status flags of open(2).</summary>
    /// <exception cref="LinuxException">The call failed on <paramref name="subject"/>.</exception>
    public static uint GetStatusFlags(SafeFileHandle handle, string subject) => (uint)Control(handle, F_GETFL, 0, "fcntl(F_GETFL)", subject);

    /// <summary>Capacity of a pipe, bytes.</summary>
    /// <exception cref="LinuxException">The call failed on <paramref name="subject"/>.</exception>
    public static int GetPipeCapacityBytes(SafeFileHandle pipe, string subject) => (int)Control(pipe, F_GETPIPE_SZ, 0, "fcntl(F_GETPIPE_SZ)", subject);

    /// <summary>Sets the capacity of a pipe; the kernel rounds up.</summary>
    /// <exception cref="LinuxException">EPERM: above /proc/sys/fs/pipe-max-size without CAP_SYS_RESOURCE.</exception>
    public static void SetPipeCapacityBytes(SafeFileHandle pipe, int capacityBytes, string subject) =>
        Control(pipe, F_SETPIPE_SZ, capacityBytes, "fcntl(F_SETPIPE_SZ)", subject);

    /// <summary>Seals of a memory file.</summary>
    /// <exception cref="LinuxException">EINVAL: it is no memory file.</exception>
    public static uint GetSeals(SafeFileHandle memoryFile, string subject) => (uint)Control(memoryFile, F_GET_SEALS, 0, "fcntl(F_GET_SEALS)", subject);

    /// <summary>Bytes that can be read without blocking; of a datagram socket, the size of the first message.</summary>
    /// <exception cref="LinuxException">ENOTTY: this kind of file does not tell.</exception>
    public static int GetReadableBytes(SafeFileHandle handle, string subject)
    {
        using var borrowed = new BorrowedDescriptor(handle);
        int count;
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Ioctl, borrowed.Number, FIONREAD, (long)&count), "ioctl(FIONREAD)", subject);
        return count;
    }

    private static long Control(SafeFileHandle handle, int command, long argument, string call, string subject)
    {
        using var borrowed = new BorrowedDescriptor(handle);
        return RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Fcntl, borrowed.Number, command, argument), call, subject);
    }
}
