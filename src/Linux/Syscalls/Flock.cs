// flock(2); Linux 2.0.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Advisory whole-file locks that end with the last copy of their open file description: a crashed owner leaves none behind.</summary>
public static class Flock
{
    private const long LOCK_EX = 2;
    private const long LOCK_NB = 4;

    /// <summary>Locks without waiting; false when another open file description holds the lock.</summary>
    public static bool TryLockExclusive(SafeFileHandle file, string path)
    {
        using var borrowed = new BorrowedDescriptor(file);
        var result = RawSyscall.Call(SyscallNumber.Flock, borrowed.Number, LOCK_EX | LOCK_NB);
        if (RawSyscall.ErrnoOf(result) == Errno.EAGAIN)
            return false;
        RawSyscall.ThrowIfFailed(result, "flock", path);
        return true;
    }

    /// <summary>Waits for the lock.</summary>
    public static void LockExclusive(SafeFileHandle file, string path)
    {
        using var borrowed = new BorrowedDescriptor(file);
        long result;
        do
        {
            result = RawSyscall.Call(SyscallNumber.Flock, borrowed.Number, LOCK_EX);
        }
        while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
        RawSyscall.ThrowIfFailed(result, "flock", path);
    }
}
