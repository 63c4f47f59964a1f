// openat(2); always there.
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Opens paths with flags that the class library does not offer.</summary>
public static unsafe class OpenPath
{
    private const int AT_FDCWD = -100;
    private const int O_DIRECTORY = 0x10000;
    private const int O_CLOEXEC = 0x80000;

    /// <summary>A close-on-exec read-only descriptor of a directory.</summary>
    public static Errno Directory(string path, out SafeFileHandle directory)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var fd = RawSyscall.Call(SyscallNumber.Openat, AT_FDCWD, (long)text, O_DIRECTORY | O_CLOEXEC);
            directory = new SafeFileHandle((nint)Math.Max(fd, -1), ownsHandle: true);
            return RawSyscall.ErrnoOf(fd);
        }
    }

    /// <summary>A close-on-exec read-only descriptor of a file, without the advisory lock that the class library takes and that a lock of the file's owner refuses.</summary>
    /// <exception cref="LinuxException">ENOENT, EACCES.</exception>
    public static SafeFileHandle ReadOnly(string path)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Openat, AT_FDCWD, (long)text, O_CLOEXEC), "openat", path);
            return new SafeFileHandle((nint)fd, ownsHandle: true);
        }
    }
}
