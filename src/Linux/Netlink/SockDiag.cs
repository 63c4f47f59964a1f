// sock_diag(7); uapi linux/sock_diag.h, linux/unix_diag.h, linux/inet_diag.h, linux/netlink_diag.h; Linux 3.3.
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Linux.Netlink;

/// <summary>
/// Lists the sockets of one network namespace. The inode joins an answer to the "socket:[INODE]" of a descriptor.
/// Not in the lists: TCP and UDP sockets that are neither bound nor connected. Not thread-safe.
/// </summary>
public sealed class SockDiag : IDisposable
{
    private const int NETLINK_SOCK_DIAG = 4;
    private const ushort SOCK_DIAG_BY_FAMILY = 20;
    private const byte AF_UNIX = 1;
    private const byte AF_NETLINK = 16;
    private const uint AllStates = 0xffff_ffff;

    private readonly NetlinkSocket _socket;

    private SockDiag(NetlinkSocket socket) => _socket = socket;

    /// <summary>In the network namespace of the calling thread.</summary>
    /// <exception cref="LinuxException">EPROTONOSUPPORT: the kernel has no sock_diag.</exception>
    public static SockDiag Open() => new(NetlinkSocket.Open(NETLINK_SOCK_DIAG, "NETLINK_SOCK_DIAG"));

    /// <summary>In the given network namespace.</summary>
    /// <exception cref="LinuxException">EPERM: needs CAP_SYS_ADMIN.</exception>
    public static SockDiag OpenIn(SafeFileHandle networkNamespace) => NetworkNamespace.RunIn(networkNamespace, Open);

    /// <summary>In the network namespace of a process.</summary>
    /// <exception cref="LinuxException">ENOENT: the process is gone; EPERM: needs CAP_SYS_ADMIN.</exception>
    public static SockDiag OpenFor(int pid)
    {
        using var networkNamespace = NetworkNamespace.Open(pid);
        return OpenIn(networkNamespace);
    }

    public void Dispose() => _socket.Dispose();

    /// <exception cref="LinuxException">ENOENT: the kernel was built without CONFIG_UNIX_DIAG.</exception>
    public List<UnixSocketInfo> UnixSockets()
    {
        // struct unix_diag_req: u8 family, u8 protocol, u16 pad, u32 states, u32 ino, u32 show, u32 cookie[2]
        const uint NameVfsPeerIconsQueue = 0x1 | 0x2 | 0x4 | 0x8 | 0x10;
        Span<byte> request = stackalloc byte[UnixRequestBytes];
        request.Clear();
        request[0] = AF_UNIX;
        BinaryPrimitives.WriteUInt32LittleEndian(request[4..], AllStates);
        BinaryPrimitives.WriteUInt32LittleEndian(request[12..], NameVfsPeerIconsQueue);
        var sockets = new List<UnixSocketInfo>();
        Dump(request, "unix sockets", sockets, UnixSocketInfo.TryParse);
        return sockets;
    }

    /// <param name="ipv6">AF_INET6, else AF_INET.</param>
    /// <param name="protocol">IPPROTO_TCP or IPPROTO_UDP.</param>
    /// <exception cref="LinuxException">ENOENT: the kernel was built without CONFIG_INET_DIAG or CONFIG_INET_UDP_DIAG.</exception>
    public List<InetSocketInfo> InetSockets(bool ipv6, InetProtocol protocol)
    {
        // struct inet_diag_req_v2: u8 family, u8 protocol, u8 ext, u8 pad, u32 states, struct inet_diag_sockid id
        Span<byte> request = stackalloc byte[InetRequestBytes];
        request.Clear();
        request[0] = ipv6 ? InetSocketInfo.AF_INET6 : InetSocketInfo.AF_INET;
        request[1] = (byte)protocol;
        BinaryPrimitives.WriteUInt32LittleEndian(request[4..], AllStates);
        var sockets = new List<InetSocketInfo>();
        Dump(request, $"{(ipv6 ? "inet6" : "inet")} {protocol} sockets", sockets,
            (ReadOnlySpan<byte> message, out InetSocketInfo socket) => InetSocketInfo.TryParse(message, protocol, out socket));
        return sockets;
    }

    /// <summary>TCP and UDP over IPv4 and IPv6.</summary>
    /// <exception cref="LinuxException">As for <see cref="InetSockets"/>.</exception>
    public List<InetSocketInfo> AllInetSockets() =>
    [
        .. InetSockets(ipv6: false, InetProtocol.Tcp),
        .. InetSockets(ipv6: true, InetProtocol.Tcp),
        .. InetSockets(ipv6: false, InetProtocol.Udp),
        .. InetSockets(ipv6: true, InetProtocol.Udp),
    ];

    /// <exception cref="LinuxException">ENOENT: the kernel was built without CONFIG_NETLINK_DIAG.</exception>
    public List<NetlinkSocketInfo> NetlinkSockets()
    {
        // struct netlink_diag_req: u8 family, u8 protocol, u16 pad, u32 ino, u32 show, u32 cookie[2]
        const byte NDIAG_PROTO_ALL = 0xff;
        const uint Groups = 0x2;
        Span<byte> request = stackalloc byte[NetlinkRequestBytes];
        request.Clear();
        request[0] = AF_NETLINK;
        request[1] = NDIAG_PROTO_ALL;
        BinaryPrimitives.WriteUInt32LittleEndian(request[8..], Groups);
        var sockets = new List<NetlinkSocketInfo>();
        Dump(request, "netlink sockets", sockets, NetlinkSocketInfo.TryParse);
        // The kernel walks its table of sockets and then its list of multicast listeners: those that are in both come twice.
        return [.. sockets.DistinctBy(socket => (socket.Protocol, socket.PortId, socket.Inode))];
    }

    internal const int UnixRequestBytes = 24;
    internal const int InetRequestBytes = 56;
    internal const int NetlinkRequestBytes = 20;

    private delegate bool Parser<T>(ReadOnlySpan<byte> message, out T socket);

    private void Dump<T>(ReadOnlySpan<byte> request, string subject, List<T> sockets, Parser<T> parse)
    {
        var errno = _socket.Dump(SOCK_DIAG_BY_FAMILY, request, (type, message) =>
        {
            if (type == SOCK_DIAG_BY_FAMILY)
                sockets.Add(parse(message, out var socket) ? socket : throw new LinuxException("sock_diag", Errno.EBADMSG, $"{subject}: an answer is too short"));
        }, sockets.Clear);
        if (errno != Errno.None)
            throw new LinuxException("sock_diag", errno, subject);
    }
}

/// <summary>IPPROTO_*.</summary>
public enum InetProtocol : byte
{
    Tcp = 6,
    Udp = 17,
}

/// <summary>States of sockets as sock_diag numbers them (TCP_* of linux/tcp.h, used by other families too).</summary>
public enum SocketState : byte
{
    None = 0,
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,

    /// <summary>Also unconnected UDP and unix sockets.</summary>
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listening = 10,
    Closing = 11,
    NewSynReceived = 12,
}

/// <summary>A socket of unix(7).</summary>
public sealed record UnixSocketInfo
{
    internal const int MessageBytes = 16;

    public required ulong Inode { get; init; }

    /// <summary>SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_SEQPACKET 5.</summary>
    public required int Type { get; init; }

    public required SocketState State { get; init; }

    /// <summary>sun_path: abstract names begin with a NUL byte; paths may end in one; empty when unnamed.</summary>
    public required byte[] Name { get; init; }

    /// <summary>Inode and device (as <c>st_dev</c>) of the socket file, when it is bound to one.</summary>
    public required (ulong Inode, ulong Device)? File { get; init; }

    /// <summary>Inode of the socket at the other end; 0 when there is none.</summary>
    public required ulong PeerInode { get; init; }

    /// <summary>Inodes of connections not yet accepted, 0 for one whose client is gone.</summary>
    public required IReadOnlyList<ulong> PendingInodes { get; init; }

    /// <summary>Bytes to read; for a listening socket connections not yet accepted.</summary>
    public required uint ReceiveQueue { get; init; }

    /// <summary>Bytes sent and not read; for a listening socket its backlog.</summary>
    public required uint SendQueue { get; init; }

    /// <summary>Bit 0: no more reading; bit 1: no more writing.</summary>
    public required int Shutdown { get; init; }

    public bool IsListening => State == SocketState.Listening;

    // struct unix_diag_msg: u8 family, u8 type, u8 state, u8 pad, u32 ino, u32 cookie[2]; attributes UNIX_DIAG_*
    internal static bool TryParse(ReadOnlySpan<byte> message, out UnixSocketInfo socket)
    {
        const ushort Name = 0, Vfs = 1, Peer = 2, Icons = 3, Queue = 4, Down = 6;
        socket = null!;
        if (message.Length < MessageBytes)
            return false;
        var attributes = message[MessageBytes..];
        var name = NetlinkSocket.TryAttribute(attributes, Name, out var sunPath) ? sunPath.ToArray() : [];
        // UNIX_DIAG_VFS: u32 ino, u32 dev
        (ulong, ulong)? file = NetlinkSocket.TryAttribute(attributes, Vfs, out var vfs) && vfs.Length >= 8
            ? (BinaryPrimitives.ReadUInt32LittleEndian(vfs), DeviceNumber.FromKernel(BinaryPrimitives.ReadUInt32LittleEndian(vfs[4..])))
            : null;
        var peer = NetlinkSocket.TryAttribute(attributes, Peer, out var other) && other.Length >= 4 ? BinaryPrimitives.ReadUInt32LittleEndian(other) : 0;
        var pending = NetlinkSocket.TryAttribute(attributes, Icons, out var icons) ? Inodes(icons) : [];
        var hasQueue = NetlinkSocket.TryAttribute(attributes, Queue, out var queue) && queue.Length >= 8;
        var down = NetlinkSocket.TryAttribute(attributes, Down, out var shutdown) && shutdown.Length >= 1 ? shutdown[0] : 0;
        socket = new UnixSocketInfo
        {
            Type = message[1],
            State = (SocketState)message[2],
            Inode = BinaryPrimitives.ReadUInt32LittleEndian(message[4..]),
            Name = name,
            File = file,
            PeerInode = peer,
            PendingInodes = pending,
            ReceiveQueue = hasQueue ? BinaryPrimitives.ReadUInt32LittleEndian(queue) : 0,
            SendQueue = hasQueue ? BinaryPrimitives.ReadUInt32LittleEndian(queue[4..]) : 0,
            Shutdown = down,
        };
        return true;
    }

    private static List<ulong> Inodes(ReadOnlySpan<byte> words)
    {
        var inodes = new List<ulong>();
        foreach (var inode in MemoryMarshal.Cast<byte, uint>(words))
            inodes.Add(inode);
        return inodes;
    }
}

/// <summary>A TCP or UDP socket.</summary>
public sealed record InetSocketInfo
{
    internal const byte AF_INET = 2;
    internal const byte AF_INET6 = 10;
    internal const int MessageBytes = 72;

    /// <summary>0 for a connection in TIME_WAIT or not yet accepted, which no descriptor holds.</summary>
    public required ulong Inode { get; init; }

    public required bool IsIpv6 { get; init; }

    public required InetProtocol Protocol { get; init; }

    public required SocketState State { get; init; }

    /// <summary>4 or 16 bytes, in network order.</summary>
    public required byte[] LocalAddress { get; init; }

    public required int LocalPort { get; init; }

    public required byte[] RemoteAddress { get; init; }

    /// <summary>0 when it is not connected.</summary>
    public required int RemotePort { get; init; }

    /// <summary>Index of the interface it is bound to, or the scope of a link-local address; 0 for any.</summary>
    public required uint InterfaceIndex { get; init; }

    /// <summary>Bytes to read; for a listening socket connections not yet accepted.</summary>
    public required uint ReceiveQueue { get; init; }

    /// <summary>Bytes not acknowledged; for a listening socket its backlog.</summary>
    public required uint SendQueue { get; init; }

    /// <summary>IPV6_V6ONLY.</summary>
    public required bool IsIpv6Only { get; init; }

    public bool IsListening => State == SocketState.Listening;

    public uint Backlog => IsListening ? SendQueue : 0;

    // struct inet_diag_msg: u8 family, u8 state, u8 timer, u8 retrans, struct inet_diag_sockid id (48),
    //                       u32 expires, u32 rqueue, u32 wqueue, u32 uid, u32 inode
    // struct inet_diag_sockid: be16 sport, be16 dport, be32 src[4], be32 dst[4], u32 if, u32 cookie[2]
    internal static bool TryParse(ReadOnlySpan<byte> message, InetProtocol protocol, out InetSocketInfo socket)
    {
        const ushort INET_DIAG_SKV6ONLY = 11;
        socket = null!;
        if (message.Length < MessageBytes)
            return false;
        var ipv6 = message[0] == AF_INET6;
        var addressBytes = ipv6 ? 16 : 4;
        var only = NetlinkSocket.TryAttribute(message[MessageBytes..], INET_DIAG_SKV6ONLY, out var flag) && flag.Length >= 1 && flag[0] != 0;
        socket = new InetSocketInfo
        {
            IsIpv6 = ipv6,
            Protocol = protocol,
            State = (SocketState)message[1],
            LocalPort = BinaryPrimitives.ReadUInt16BigEndian(message[4..]),
            RemotePort = BinaryPrimitives.ReadUInt16BigEndian(message[6..]),
            LocalAddress = message.Slice(8, addressBytes).ToArray(),
            RemoteAddress = message.Slice(24, addressBytes).ToArray(),
            InterfaceIndex = BinaryPrimitives.ReadUInt32LittleEndian(message[40..]),
            ReceiveQueue = BinaryPrimitives.ReadUInt32LittleEndian(message[56..]),
            SendQueue = BinaryPrimitives.ReadUInt32LittleEndian(message[60..]),
            Inode = BinaryPrimitives.ReadUInt32LittleEndian(message[68..]),
            IsIpv6Only = only,
        };
        return true;
    }
}

/// <summary>A socket of netlink(7).</summary>
public sealed record NetlinkSocketInfo
{
    internal const int MessageBytes = 28;

    public required ulong Inode { get; init; }

    /// <summary>SOCK_RAW 3 or SOCK_DGRAM 2.</summary>
    public required int Type { get; init; }

    /// <summary>NETLINK_ROUTE 0, ….</summary>
    public required int Protocol { get; init; }

    /// <summary>The address it is bound to; 0 when it is not bound.</summary>
    public required uint PortId { get; init; }

    /// <summary>The address it is connected to; 0 is the kernel.</summary>
    public required uint PeerPortId { get; init; }

    /// <summary>Multicast groups it listens to, counted from 1.</summary>
    public required IReadOnlyList<uint> Groups { get; init; }

    // struct netlink_diag_msg: u8 family, u8 type, u8 protocol, u8 state, u32 portid, u32 dst_portid, u32 dst_group, u32 ino, u32 cookie[2]
    internal static bool TryParse(ReadOnlySpan<byte> message, out NetlinkSocketInfo socket)
    {
        const ushort NETLINK_DIAG_GROUPS = 1;
        socket = null!;
        if (message.Length < MessageBytes)
            return false;
        socket = new NetlinkSocketInfo
        {
            Type = message[1],
            Protocol = message[2],
            PortId = BinaryPrimitives.ReadUInt32LittleEndian(message[4..]),
            PeerPortId = BinaryPrimitives.ReadUInt32LittleEndian(message[8..]),
            Inode = BinaryPrimitives.ReadUInt32LittleEndian(message[16..]),
            Groups = NetlinkSocket.TryAttribute(message[MessageBytes..], NETLINK_DIAG_GROUPS, out var bits) ? GroupNumbers(bits) : [],
        };
        return true;
    }

    // Group N is bit N-1 of the bitmap.
    private static List<uint> GroupNumbers(ReadOnlySpan<byte> bitmap)
    {
        var groups = new List<uint>();
        for (var bit = 0; bit < bitmap.Length * 8; bit++)
        {
            if ((bitmap[bit / 8] >> (bit % 8) & 1) != 0)
                groups.Add((uint)bit + 1);
        }
        return groups;
    }
}
