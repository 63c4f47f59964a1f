// process_madvise(2), madvise(2); Linux 5.10; MADV_COLLAPSE since 6.1.
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Syscalls;

/// <summary>Memory advice given to another process.</summary>
public static unsafe class ProcessMadvise
{
    private const int MADV_COLLAPSE = 25;

    /// <summary>Synchronously backs the aligned 2 MiB parts of <paramref name="range"/> with huge pages.</summary>
    /// <returns>An error when a part could not be collapsed (no huge page free, range not eligible); memory contents are unchanged either way.</returns>
    public static Errno Collapse(SafeFileHandle pidfd, AddressRange range)
    {
        using var borrowed = new BorrowedDescriptor(pidfd);
        var vector = stackalloc long[2] { (long)range.Start.Value, (long)range.LengthBytes };
        return RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.ProcessMadvise, borrowed.Number, (long)vector, 1, MADV_COLLAPSE, 0));
    }
}
