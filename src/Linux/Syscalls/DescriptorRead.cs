// read(2), fcntl(2) F_GETFL and F_SETFL with O_NONBLOCK.
using System.Runtime.InteropServices;

namespace Snapshots.Linux.Syscalls;

/// <summary>Reading from pipes and sockets whose other end is a process we do not trust to write or to close.</summary>
public static unsafe class DescriptorRead
{
    private const int F_GETFL = 3;
    private const int F_SETFL = 4;
    private const long O_NONBLOCK = 0x800;

    /// <summary>Reads what is there; zero bytes mean that every writer closed its end.</summary>
    /// <returns><see cref="Errno.EAGAIN"/> when nothing is there and the descriptor does not block; <see cref="Errno.ECONNRESET"/> from sockets.</returns>
    public static Errno Read(SafeHandle descriptor, Span<byte> destination, out int bytesRead)
    {
        var added = false;
        try
        {
            descriptor.DangerousAddRef(ref added);
            fixed (byte* bytes = destination)
            {
                long result;
                do
                {
                    result = RawSyscall.Call(SyscallNumber.Read, descriptor.DangerousGetHandle(), (long)bytes, destination.Length);
                }
                while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
                bytesRead = result < 0 ? 0 : (int)result;
                return RawSyscall.ErrnoOf(result);
            }
        }
        finally
        {
            if (added)
                descriptor.DangerousRelease();
        }
    }

    /// <summary>Makes reads of the open file description behind <paramref name="descriptor"/> return <see cref="Errno.EAGAIN"/> instead of waiting.</summary>
    public static void SetNonBlocking(SafeHandle descriptor, string subject)
    {
        var added = false;
        try
        {
            descriptor.DangerousAddRef(ref added);
            var number = descriptor.DangerousGetHandle();
            var flags = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Fcntl, number, F_GETFL), "fcntl(F_GETFL)", subject);
            RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Fcntl, number, F_SETFL, flags | O_NONBLOCK), "fcntl(F_SETFL)", subject);
        }
        finally
        {
            if (added)
                descriptor.DangerousRelease();
        }
    }
}
