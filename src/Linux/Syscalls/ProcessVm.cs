// process_vm_readv(2), process_vm_writev(2); Linux 3.2.
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Syscalls;

/// <summary>Copies between our memory and another process's, obeying that process's page protections.</summary>
public static unsafe class ProcessVm
{
    /// <summary>Reads as much as is mapped and readable from <paramref name="source"/>; returns the bytes read, which may be fewer.</summary>
    public static Errno Read(int pid, VirtualAddress source, Span<byte> destination, out int bytesRead)
    {
        fixed (byte* local = destination)
            return Transfer(SyscallNumber.ProcessVmReadv, pid, source, local, destination.Length, out bytesRead);
    }

    /// <summary>IOV_MAX: ranges that one <see cref="ReadMany"/> takes.</summary>
    public const int MaximumRanges = 1024;

    /// <summary>Reads <paramref name="ranges"/> one after another into <paramref name="destination"/>.</summary>
    /// <param name="bytesRead">How much was read; less than asked for when a later range cannot be read.</param>
    /// <returns>EFAULT when the first range cannot be read (unmapped, PROT_NONE); ESRCH when the process is gone.</returns>
    public static Errno ReadMany(int pid, ReadOnlySpan<AddressRange> ranges, Span<byte> destination, out int bytesRead)
    {
        if (ranges.Length > MaximumRanges)
            throw new ArgumentException($"process_vm_readv takes at most {MaximumRanges} ranges", nameof(ranges));
        var remote = stackalloc ulong[ranges.Length * 2];
        for (var i = 0; i < ranges.Length; i++)
        {
            remote[i * 2] = ranges[i].Start.Value;
            remote[(i * 2) + 1] = ranges[i].LengthBytes;
        }

        fixed (byte* pointer = destination)
        {
            var local = stackalloc ulong[2] { (ulong)pointer, (ulong)destination.Length };
            var result = RawSyscall.Call(SyscallNumber.ProcessVmReadv, pid, (long)local, 1, (long)remote, ranges.Length);
            bytesRead = result < 0 ? 0 : (int)result;
            return RawSyscall.ErrnoOf(result);
        }
    }

    /// <summary>Writes all of <paramref name="source"/>.</summary>
    /// <exception cref="LinuxException">EFAULT: part of the range is not mapped writable; EPERM; ESRCH.</exception>
    public static void Write(int pid, VirtualAddress destination, ReadOnlySpan<byte> source)
    {
        fixed (byte* local = source)
        {
            for (var done = 0; done < source.Length;)
            {
                var errno = Transfer(SyscallNumber.ProcessVmWritev, pid, destination + (ulong)done, local + done, source.Length - done, out var written);
                if (errno != Errno.None || written == 0)
                    throw new LinuxException("process_vm_writev", errno == Errno.None ? Errno.EFAULT : errno, $"pid {pid}, {source.Length - done} bytes at {destination + (ulong)done}");
                done += written;
            }
        }
    }

    private static Errno Transfer(SyscallNumber call, int pid, VirtualAddress remote, byte* local, int length, out int done)
    {
        var localVector = stackalloc long[2] { (long)local, length };
        var remoteVector = stackalloc long[2] { (long)remote.Value, length };
        var result = RawSyscall.Call(call, pid, (long)localVector, 1, (long)remoteVector, 1);
        done = result < 0 ? 0 : (int)result;
        return RawSyscall.ErrnoOf(result);
    }
}
