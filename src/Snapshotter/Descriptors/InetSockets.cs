using System.Buffers.Binary;
using System.Net;
using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Netlink;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>TCP and UDP over IPv4 and IPv6: listening and unconnected sockets. What has a peer is refused.</summary>
internal static class InetSockets
{
    private const int IPPROTO_TCP = 6;
    private const int IPPROTO_UDP = 17;
    private const int TCP_INFO = 11;

    // struct tcp_info of linux/tcp.h: u8 state at 0; of a listening socket tcpi_unacked (24) is the number of connections
    // not yet accepted and tcpi_sacked (28) the backlog.
    private const int TcpInfoBytes = 32;
    private const int TcpInfoPending = 24;
    private const int TcpInfoBacklog = 28;

    public static void Capture(CaptureContext context, CapturedFile file, SocketKind kind)
    {
        if (kind.Protocol is not (IPPROTO_TCP or IPPROTO_UDP))
        {
            context.Refuse(file.Subject, $"a socket of IP protocol {kind.Protocol}", "Close it before the worker is ready (for MPTCP, Go programs: GODEBUG=multipathtcp=0).");
            return;
        }
        var socket = new InetSocket { Family = (uint)kind.Family, Type = (uint)kind.Type, Protocol = (uint)kind.Protocol };
        file.Image.InetSocket = socket;
        if (kind.Protocol == IPPROTO_TCP ? RefusesTcp(context, file, socket) : RefusesUdp(context, file))
            return;
        ReadLocalAddress(context, file, socket);
        socket.Options.AddRange(SocketOptions.Capture(context, file, kind));
    }

    private static bool RefusesTcp(CaptureContext context, CapturedFile file, InetSocket socket)
    {
        Span<byte> info = stackalloc byte[TcpInfoBytes];
        var errno = SocketQuery.GetOption(file.Handle, IPPROTO_TCP, TCP_INFO, info, out _);
        if (errno != Errno.None)
            throw new LinuxException("getsockopt(TCP_INFO)", errno, file.Subject);
        switch ((SocketState)info[0])
        {
            case SocketState.Closed:
                return false;
            case SocketState.Listening:
                socket.Listening = true;
                socket.Backlog = BinaryPrimitives.ReadUInt32LittleEndian(info[TcpInfoBacklog..]);
                return RefusesPending(context, file, BinaryPrimitives.ReadUInt32LittleEndian(info[TcpInfoPending..]));
            default:
                var peer = SocketQuery.GetPeerName(file.Handle, out var address) == Errno.None ? $" with {Text(address)}" : "";
                context.Refuse(file.Subject, $"a TCP connection{peer} ({(SocketState)info[0]})",
                    "Close connections before the worker is ready and open them again in the clone.");
                return true;
        }
    }

    private static bool RefusesPending(CaptureContext context, CapturedFile file, uint pending)
    {
        if (pending == 0)
            return false;
        context.Refuse(file.Subject, $"{pending} connections wait to be accepted", "Accept or refuse them before the worker is ready; probe with `--ready port:N`, which does not connect.");
        return true;
    }

    private static bool RefusesUdp(CaptureContext context, CapturedFile file)
    {
        if (SocketQuery.GetPeerName(file.Handle, out var peer) == Errno.None)
        {
            context.Refuse(file.Subject, $"a UDP socket connected to {Text(peer)}", "Close it before the worker is ready, or use sendto without connect.");
            return true;
        }
        if (!SocketKind.HasQueuedData(file))
            return false;
        context.Refuse(file.Subject, "unread UDP datagrams", "Let the worker read them before it is ready.");
        return true;
    }

    private static void ReadLocalAddress(CaptureContext context, CapturedFile file, InetSocket socket)
    {
        var errno = SocketQuery.GetName(file.Handle, out var name);
        if (errno != Errno.None)
            throw new LinuxException("getsockname", errno, file.Subject);
        var (address, port) = Parse(name);
        socket.LocalPort = port;
        socket.LocalAddress = ByteString.CopyFrom(address.GetAddressBytes());
        socket.ScopeId = socket.Family == SocketKind.Inet6 ? (uint)address.ScopeId : 0;
        socket.Bound = port != 0;
        var plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        if (socket.Bound && !IPAddress.IsLoopback(plain) && !plain.Equals(IPAddress.Any) && !plain.Equals(IPAddress.IPv6Any))
            context.Refuse(file.Subject, $"it is bound to {address}, which clones do not have", "Bind it to 0.0.0.0, ::, 127.0.0.1 or ::1.");
    }

    private static string Text(byte[] socketAddress)
    {
        var (address, port) = Parse(socketAddress);
        return new IPEndPoint(address, (int)port).ToString();
    }

    // sockaddr_in: u16 family, be16 port, u8 address[4]; sockaddr_in6: u16 family, be16 port, u32 flow, u8 address[16], u32 scope.
    private static (IPAddress Address, uint Port) Parse(ReadOnlySpan<byte> socketAddress)
    {
        var port = BinaryPrimitives.ReadUInt16BigEndian(socketAddress[2..]);
        return BinaryPrimitives.ReadUInt16LittleEndian(socketAddress) == SocketKind.Inet6
            ? (new IPAddress(socketAddress.Slice(8, 16), BinaryPrimitives.ReadUInt32LittleEndian(socketAddress[24..])), port)
            : (new IPAddress(socketAddress.Slice(4, 4)), port);
    }
}
