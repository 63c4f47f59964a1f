// netlink(7); uapi linux/netlink.h.
using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Netlink;

/// <summary>A request and its dump of answers over a netlink socket. Not thread-safe.</summary>
internal sealed unsafe class NetlinkSocket : IDisposable
{
    public const int HeaderBytes = 16;          // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port
    public const int AttributeHeaderBytes = 4;  // struct nlattr: u16 length, u16 type
    private const int AF_NETLINK = 16;
    private const int SOCK_RAW_CLOEXEC = 3 | 0x80000;
    private const ushort NLMSG_ERROR = 2;
    private const ushort NLMSG_DONE = 3;
    private const ushort NLM_F_REQUEST_DUMP = 0x1 | 0x300;
    private const ushort NLM_F_DUMP_INTR = 0x10;
    private const int MSG_TRUNC = 0x20;
    // The kernel fills dump packets of at most 32 KiB however large the reader's buffer is.
    private const int BufferBytes = 64 * 1024;
    private const int MostInterruptedDumps = 16;

    private readonly SafeFileHandle _socket;
    private readonly byte[] _buffer = new byte[BufferBytes];
    private uint _sequence;

    private NetlinkSocket(SafeFileHandle socket) => _socket = socket;

    public delegate void MessageReader(ushort type, ReadOnlySpan<byte> payload);

    /// <summary>A socket in the network namespace of the calling thread.</summary>
    public static NetlinkSocket Open(int protocol, string subject)
    {
        var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Socket, AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), "socket", subject);
        return new NetlinkSocket(new SafeFileHandle((nint)fd, ownsHandle: true));
    }

    /// <summary>
    /// Sends a dump request and hands every answer to <paramref name="read"/>. A dump that the kernel marks as interrupted is inconsistent and is asked for again,
    /// after <paramref name="restart"/>.
    /// </summary>
    /// <returns>What the kernel answered; ENOENT when it has no handler for the request.</returns>
    public Errno Dump(ushort type, ReadOnlySpan<byte> request, MessageReader read, Action restart)
    {
        for (var attempt = 0; ; attempt++)
        {
            Send(type, request);
            var errno = ReceiveDump(read, out var interrupted);
            if (errno != Errno.None || !interrupted || attempt == MostInterruptedDumps)
                return interrupted && errno == Errno.None ? Errno.EINTR : errno;
            restart();
        }
    }

    public void Dispose() => _socket.Dispose();

    /// <summary>Finds an attribute (struct nlattr) behind a message's fixed part.</summary>
    public static bool TryAttribute(ReadOnlySpan<byte> attributes, ushort wanted, out ReadOnlySpan<byte> value)
    {
        value = default;
        while (attributes.Length >= AttributeHeaderBytes)
        {
            int length = BinaryPrimitives.ReadUInt16LittleEndian(attributes);
            // The two top bits mark nested and big-endian attributes.
            var type = BinaryPrimitives.ReadUInt16LittleEndian(attributes[2..]) & 0x3fff;
            if (length < AttributeHeaderBytes || length > attributes.Length)
                return false;
            if (type == wanted)
            {
                value = attributes[AttributeHeaderBytes..length];
                return true;
            }
            attributes = attributes[Math.Min((length + 3) & ~3, attributes.Length)..];
        }
        return false;
    }

    private void Send(ushort type, ReadOnlySpan<byte> request)
    {
        Span<byte> message = stackalloc byte[HeaderBytes + request.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)message.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(message[4..], type);
        BinaryPrimitives.WriteUInt16LittleEndian(message[6..], NLM_F_REQUEST_DUMP);
        BinaryPrimitives.WriteUInt32LittleEndian(message[8..], ++_sequence);
        BinaryPrimitives.WriteUInt32LittleEndian(message[12..], 0);
        request.CopyTo(message[HeaderBytes..]);
        using var borrowed = new BorrowedDescriptor(_socket);
        fixed (byte* bytes = message)
            RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Sendto, borrowed.Number, (long)bytes, message.Length), "sendto", "netlink socket");
    }

    private Errno ReceiveDump(MessageReader read, out bool interrupted)
    {
        interrupted = false;
        while (true)
        {
            var packet = Receive();
            while (packet.Length >= HeaderBytes)
            {
                var length = BinaryPrimitives.ReadInt32LittleEndian(packet);
                if (length < HeaderBytes || length > packet.Length)
                    throw new LinuxException("recvfrom", Errno.EBADMSG, "netlink socket: a message is longer than its packet");
                var type = BinaryPrimitives.ReadUInt16LittleEndian(packet[4..]);
                interrupted |= (BinaryPrimitives.ReadUInt16LittleEndian(packet[6..]) & NLM_F_DUMP_INTR) != 0;
                var payload = packet[HeaderBytes..length];
                if (BinaryPrimitives.ReadUInt32LittleEndian(packet[8..]) == _sequence)
                {
                    // Both carry the negated error number first; an older kernel's DONE may carry nothing.
                    if (type is NLMSG_ERROR or NLMSG_DONE)
                        return payload.Length >= 4 ? (Errno)(-BinaryPrimitives.ReadInt32LittleEndian(payload)) : Errno.None;
                    read(type, payload);
                }
                packet = packet[Math.Min((length + 3) & ~3, packet.Length)..];
            }
        }
    }

    private ReadOnlySpan<byte> Receive()
    {
        using var borrowed = new BorrowedDescriptor(_socket);
        fixed (byte* bytes = _buffer)
        {
            long length;
            do
                length = RawSyscall.Call(SyscallNumber.Recvfrom, borrowed.Number, (long)bytes, BufferBytes, MSG_TRUNC);
            while (length == -(long)Errno.EINTR);
            RawSyscall.ThrowIfFailed(length, "recvfrom", "netlink socket");
            if (length > BufferBytes)
                throw new LinuxException("recvfrom", Errno.EMSGSIZE, "netlink socket: the kernel sent a larger packet than it promises to");
            return _buffer.AsSpan(0, (int)length);
        }
    }
}
