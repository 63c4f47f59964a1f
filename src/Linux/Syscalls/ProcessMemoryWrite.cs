// pwrite(2) to /proc/PID/mem (proc_pid_mem(5)); kernel fs/proc/base.c mem_rw.
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Syscalls;

/// <summary>Writes to a process through <c>/proc/PID/mem</c>: whatever the protection of a private page, the process gets a copy of its own.</summary>
/// <remarks>Not RandomAccess.Write: that goes on for ever when the process ends meanwhile, since the kernel then says that it wrote nothing.</remarks>
public static unsafe class ProcessMemoryWrite
{
    /// <exception cref="IOException">The process is gone.</exception>
    public static SafeFileHandle Open(int pid) =>
        File.OpenHandle(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/mem"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);

    /// <summary>Writes all of <paramref name="source"/>.</summary>
    /// <exception cref="LinuxException">ESRCH: the process has ended; EIO: part of the range is not mapped, or shared and not writable.</exception>
    public static void Write(SafeFileHandle memory, int pid, VirtualAddress destination, ReadOnlySpan<byte> source)
    {
        using var borrowed = new BorrowedDescriptor(memory);
        fixed (byte* bytes = source)
        {
            for (var done = 0; done < source.Length;)
            {
                var result = RawSyscall.Call(SyscallNumber.Pwrite64, borrowed.Number, (long)(bytes + done), source.Length - done, (long)(destination + (ulong)done).Value);
                var errno = result == 0 ? Errno.ESRCH : RawSyscall.ErrnoOf(result);
                if (errno == Errno.EINTR)
                    continue;
                if (errno != Errno.None)
                    throw new LinuxException("pwrite", errno, $"/proc/{pid}/mem, {source.Length - done} bytes at {destination + (ulong)done}");
                done += (int)result;
            }
        }
    }
}
