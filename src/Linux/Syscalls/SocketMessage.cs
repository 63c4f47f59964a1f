// sendmsg(2), recvfrom(2), unix(7) SCM_RIGHTS, socket(7) SO_RCVTIMEO.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Whole messages over a unix socket, with descriptors attached. Allocates nothing.</summary>
public static unsafe class SocketMessage
{
    /// <summary>Most descriptors one message may carry (SCM_MAX_FD of the kernel).</summary>
    public const int MaxDescriptors = 253;

    private const int SOL_SOCKET = 1;
    private const int SCM_RIGHTS = 1;
    private const int SO_RCVTIMEO = 20;
    private const int MSG_NOSIGNAL = 0x4000;
    private const int CmsgHeaderBytes = 16;

    /// <summary>Sends <paramref name="payload"/> with descriptors attached.</summary>
    /// <returns><see cref="Errno.EPIPE"/> or <see cref="Errno.ECONNRESET"/> when the peer is gone.</returns>
    public static Errno Send(SafeFileHandle socket, ReadOnlySpan<byte> payload, params ReadOnlySpan<SafeFileHandle> descriptors)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MaxDescriptors, nameof(descriptors));
        Span<bool> added = stackalloc bool[descriptors.Length];
        var controlBytes = descriptors.Length == 0 ? 0 : CmsgHeaderBytes + (((4 * descriptors.Length) + 7) & ~7);
        var control = stackalloc byte[Math.Max(controlBytes, 1)];
        using var borrowed = new BorrowedDescriptor(socket);
        try
        {
            if (descriptors.Length > 0)
            {
                *(long*)control = CmsgHeaderBytes + (4 * descriptors.Length);
                *(int*)(control + 8) = SOL_SOCKET;
                *(int*)(control + 12) = SCM_RIGHTS;
                for (var i = 0; i < descriptors.Length; i++)
                {
                    descriptors[i].DangerousAddRef(ref added[i]);
                    *(int*)(control + CmsgHeaderBytes + (4 * i)) = (int)descriptors[i].DangerousGetHandle();
                }
            }
            fixed (byte* bytes = payload)
            {
                var vector = stackalloc long[2] { (long)bytes, payload.Length };
                // struct msghdr: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48.
                var header = stackalloc long[7] { 0, 0, (long)vector, 1, controlBytes == 0 ? 0 : (long)control, controlBytes, 0 };
                long result;
                do
                {
                    result = RawSyscall.Call(SyscallNumber.Sendmsg, borrowed.Number, (long)header, MSG_NOSIGNAL);
                }
                while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
                return RawSyscall.ErrnoOf(result);
            }
        }
        finally
        {
            for (var i = 0; i < descriptors.Length; i++)
            {
                if (added[i])
                    descriptors[i].DangerousRelease();
            }
        }
    }

    /// <summary>Receives one message without descriptors; zero bytes mean that the peer closed.</summary>
    /// <returns><see cref="Errno.EAGAIN"/> when the receive time-out passed.</returns>
    public static Errno Receive(SafeFileHandle socket, Span<byte> destination, out int bytesReceived)
    {
        using var borrowed = new BorrowedDescriptor(socket);
        fixed (byte* bytes = destination)
        {
            long result;
            do
            {
                result = RawSyscall.Call(SyscallNumber.Recvfrom, borrowed.Number, (long)bytes, destination.Length);
            }
            while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
            bytesReceived = result < 0 ? 0 : (int)result;
            return RawSyscall.ErrnoOf(result);
        }
    }

    /// <summary>Bounds how long <see cref="Receive"/> blocks (SO_RCVTIMEO); zero blocks for ever.</summary>
    public static void SetReceiveTimeout(SafeFileHandle socket, TimeSpan timeout)
    {
        using var borrowed = new BorrowedDescriptor(socket);
        var value = stackalloc long[2] { (long)timeout.TotalSeconds, timeout.Milliseconds * 1000L };
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Setsockopt, borrowed.Number, SOL_SOCKET, SO_RCVTIMEO, (long)value, 16), "setsockopt(SO_RCVTIMEO)", "socket");
    }
}
