// lseek(2) SEEK_DATA, SEEK_HOLE; Linux 3.1.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Finds the parts of a sparse file that hold data. Moves the descriptor's offset: give it a descriptor of your own.</summary>
public static class SeekData
{
    private const int SEEK_DATA = 3;
    private const int SEEK_HOLE = 4;

    /// <summary>The data ranges of <paramref name="file"/>, ascending, in bytes.</summary>
    /// <exception cref="LinuxException">The file cannot seek.</exception>
    public static IEnumerable<(ulong Start, ulong End)> Ranges(SafeFileHandle file, ulong sizeBytes, string subject)
    {
        for (ulong position = 0; position < sizeBytes;)
        {
            var start = Seek(file, position, SEEK_DATA);
            if (RawSyscall.ErrnoOf(start) == Errno.ENXIO)
                yield break;
            RawSyscall.ThrowIfFailed(start, "lseek(SEEK_DATA)", subject);
            var end = RawSyscall.ThrowIfFailed(Seek(file, (ulong)start, SEEK_HOLE), "lseek(SEEK_HOLE)", subject);
            yield return ((ulong)start, (ulong)end);
            position = (ulong)end;
        }
    }

    private static long Seek(SafeFileHandle file, ulong position, int whence)
    {
        using var borrowed = new BorrowedDescriptor(file);
        return RawSyscall.Call(SyscallNumber.Lseek, borrowed.Number, (long)position, whence);
    }
}
