// fsync(2) of a directory: makes names in it survive a crash.
using System.Text;

namespace Snapshots.Linux.Syscalls;

/// <summary>What .NET's file classes cannot do: they refuse to open directories.</summary>
public static unsafe class DirectoryFlush
{
    private const long O_RDONLY_DIRECTORY_CLOEXEC = 0x10000 | 0x80000;

    /// <summary>Returns once every creation, rename and removal done in the directory is on disk.</summary>
    /// <exception cref="LinuxException">The directory cannot be opened, or the disk failed.</exception>
    public static void Sync(string path)
    {
        long fd;
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
            fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Open, (long)text, O_RDONLY_DIRECTORY_CLOEXEC), "open", path);
        var result = RawSyscall.Call(SyscallNumber.Fsync, fd);
        RawSyscall.Call(SyscallNumber.Close, fd);
        RawSyscall.ThrowIfFailed(result, "fsync", path);
    }
}
