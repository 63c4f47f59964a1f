// open(2), flock(2).
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>A lock between processes that is a file: held until disposed or until its owner dies.</summary>
public static unsafe class FileLock
{
    private const long O_RDWR_CREAT_CLOEXEC = 0x2 | 0x40 | 0x80000;
    private const long OwnerOnly = 0b110_000_000;

    /// <summary>Makes the file at <paramref name="path"/> when it is missing and waits until nobody else holds it.</summary>
    /// <exception cref="LinuxException">The file cannot be made or opened.</exception>
    public static IDisposable Acquire(string path)
    {
        var file = Open(path);
        try
        {
            Flock.LockExclusive(file, path);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>As <see cref="Acquire"/>, but null at once when somebody else holds it.</summary>
    /// <exception cref="LinuxException">The file cannot be made or opened.</exception>
    public static IDisposable? TryAcquire(string path)
    {
        var file = Open(path);
        var locked = false;
        try
        {
            locked = Flock.TryLockExclusive(file, path);
            return locked ? file : null;
        }
        finally
        {
            if (!locked)
                file.Dispose();
        }
    }

    // Not by .NET's File class, which takes a lock of its own on what it opens.
    private static SafeFileHandle Open(string path)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Open, (long)text, O_RDWR_CREAT_CLOEXEC, OwnerOnly), "open", path);
            return new SafeFileHandle((nint)fd, ownsHandle: true);
        }
    }
}
