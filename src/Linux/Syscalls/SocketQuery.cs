// getsockopt(2), setsockopt(2), getsockname(2), getpeername(2), recvfrom(2) MSG_PEEK; uapi asm-generic/socket.h.
using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Asks a socket about itself without changing it.</summary>
public static unsafe class SocketQuery
{
    private const int SOL_SOCKET = 1;
    private const int SO_PEEK_OFF = 42;
    private const int MSG_PEEK = 2;
    private const int MSG_TRUNC = 0x20;
    private const int MSG_DONTWAIT = 0x40;

    /// <summary>struct sockaddr_storage.</summary>
    private const int LargestAddressBytes = 128;

    /// <summary>A new close-on-exec socket (socket(2)).</summary>
    public static Errno Open(int family, int type, int protocol, out SafeFileHandle socket)
    {
        const int SOCK_CLOEXEC = 0x80000;
        var fd = RawSyscall.Call(SyscallNumber.Socket, family, type | SOCK_CLOEXEC, protocol);
        socket = new SafeFileHandle((nint)Math.Max(fd, -1), ownsHandle: true);
        return RawSyscall.ErrnoOf(fd);
    }

    /// <summary>Reads an option into <paramref name="value"/>; <paramref name="lengthBytes"/> says how much of it the kernel filled.</summary>
    public static Errno GetOption(SafeFileHandle socket, int level, int name, Span<byte> value, out int lengthBytes)
    {
        using var borrowed = new BorrowedDescriptor(socket);
        var length = value.Length;
        fixed (byte* bytes = value)
        {
            var result = RawSyscall.Call(SyscallNumber.Getsockopt, borrowed.Number, level, name, (long)bytes, (long)&length);
            lengthBytes = result < 0 ? 0 : length;
            return RawSyscall.ErrnoOf(result);
        }
    }

    /// <summary>An option that is an int.</summary>
    public static Errno GetOption(SafeFileHandle socket, int level, int name, out int value)
    {
        Span<byte> bytes = stackalloc byte[4];
        var errno = GetOption(socket, level, name, bytes, out _);
        value = BinaryPrimitives.ReadInt32LittleEndian(bytes);
        return errno;
    }

    /// <summary>The address of the socket itself: struct sockaddr with the length the kernel says.</summary>
    public static Errno GetName(SafeFileHandle socket, out byte[] address) => GetAddress(SyscallNumber.Getsockname, socket, out address);

    /// <summary>The address of the peer; <see cref="Errno.ENOTCONN"/> when there is none.</summary>
    public static Errno GetPeerName(SafeFileHandle socket, out byte[] address) => GetAddress(SyscallNumber.Getpeername, socket, out address);

    private static Errno GetAddress(SyscallNumber call, SafeFileHandle socket, out byte[] address)
    {
        using var borrowed = new BorrowedDescriptor(socket);
        var length = LargestAddressBytes;
        var bytes = stackalloc byte[LargestAddressBytes];
        var result = RawSyscall.Call(call, borrowed.Number, (long)bytes, (long)&length);
        address = result < 0 ? [] : new ReadOnlySpan<byte>(bytes, Math.Min(length, LargestAddressBytes)).ToArray();
        return RawSyscall.ErrnoOf(result);
    }

    /// <summary>
    /// Copies what is first in the receive queue without consuming it. <paramref name="lengthBytes"/> is the whole length of a message even
    /// when it does not fit. <see cref="Errno.EAGAIN"/> says that the queue is empty.
    /// </summary>
    public static Errno Peek(SafeFileHandle socket, Span<byte> destination, out int lengthBytes)
    {
        using var borrowed = new BorrowedDescriptor(socket);
        fixed (byte* bytes = destination)
        {
            var result = RawSyscall.Call(SyscallNumber.Recvfrom, borrowed.Number, (long)bytes, destination.Length, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
            lengthBytes = result < 0 ? 0 : (int)result;
            return RawSyscall.ErrnoOf(result);
        }
    }

    /// <summary>
    /// Where the next <see cref="Peek"/> begins (SO_PEEK_OFF of socket(7)); -1 peeks always at the front. This changes the socket: put the old value back.
    /// </summary>
    public static Errno SetPeekOffset(SafeFileHandle socket, int offsetBytes)
    {
        using var borrowed = new BorrowedDescriptor(socket);
        return RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.Setsockopt, borrowed.Number, SOL_SOCKET, SO_PEEK_OFF, (long)&offsetBytes, sizeof(int)));
    }

    /// <summary>The value of SO_PEEK_OFF.</summary>
    public static Errno GetPeekOffset(SafeFileHandle socket, out int offsetBytes) => GetOption(socket, SOL_SOCKET, SO_PEEK_OFF, out offsetBytes);
}
