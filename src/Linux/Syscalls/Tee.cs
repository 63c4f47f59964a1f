// tee(2); Linux 2.6.17.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Copies from one pipe to another without consuming.</summary>
public static class Tee
{
    private const int SPLICE_F_NONBLOCK = 2;

    /// <summary>Copies up to <paramref name="lengthBytes"/> from pipe to pipe; returns how many.</summary>
    /// <exception cref="LinuxException">EAGAIN: nothing to copy, or no room.</exception>
    public static int Copy(SafeFileHandle source, SafeFileHandle destination, int lengthBytes, string subject)
    {
        using var from = new BorrowedDescriptor(source);
        using var to = new BorrowedDescriptor(destination);
        return (int)RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Tee, from.Number, to.Number, lengthBytes, SPLICE_F_NONBLOCK), "tee", subject);
    }
}
