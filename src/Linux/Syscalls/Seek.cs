// lseek(2) with SEEK_DATA and SEEK_HOLE; Linux 3.1.
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Syscalls;

/// <summary>Finds the parts of a sparse file that hold data.</summary>
public static class Seek
{
    private const int SEEK_DATA = 3;
    private const int SEEK_HOLE = 4;

    /// <summary>The extents of the file that are not holes, ascending, in whole pages; the last may reach beyond the end of the file.</summary>
    /// <exception cref="LinuxException">The file cannot be searched.</exception>
    public static List<(ulong OffsetBytes, ulong LengthBytes)> DataExtents(SafeFileHandle file, ulong sizeBytes, string subject)
    {
        using var borrowed = new BorrowedDescriptor(file);
        var found = new List<(ulong, ulong)>();
        for (ulong at = 0; at < sizeBytes;)
        {
            var data = RawSyscall.Call(SyscallNumber.Lseek, borrowed.Number, (long)at, SEEK_DATA);
            if (data == -(long)Errno.ENXIO)
                break;
            RawSyscall.ThrowIfFailed(data, "lseek(SEEK_DATA)", subject);
            var hole = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Lseek, borrowed.Number, data, SEEK_HOLE), "lseek(SEEK_HOLE)", subject);
            var start = (ulong)data & ~(PageSize.Bytes - 1);
            var end = ((ulong)hole + PageSize.Bytes - 1) & ~(PageSize.Bytes - 1);
            found.Add((start, end - start));
            at = end;
        }

        return found;
    }
}
