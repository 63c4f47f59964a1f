using System.Buffers.Binary;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>
/// The options of a socket that differ from those of a new one, in the form that setsockopt(2) takes. Names are those of uapi
/// <c>asm-generic/socket.h</c>, <c>linux/in.h</c>, <c>linux/in6.h</c>, <c>linux/tcp.h</c> and <c>linux/netlink.h</c>.
/// </summary>
internal static class SocketOptions
{
    private const int SOL_SOCKET = 1;
    private const int IPPROTO_IP = 0;
    private const int IPPROTO_TCP = 6;
    private const int IPPROTO_IPV6 = 41;
    private const int SOL_NETLINK = 270;
    private const int SO_SNDBUF = 7;
    private const int SO_RCVBUF = 8;
    private const int SO_BINDTODEVICE = 25;
    private const int SO_GET_FILTER = 26;
    private const int SO_SNDBUFFORCE = 32;
    private const int SO_RCVBUFFORCE = 33;
    private const int SO_BUF_LOCK = 72;
    private const int SOCK_SNDBUF_LOCK = 1;
    private const int SOCK_RCVBUF_LOCK = 2;
    private const int LargestValueBytes = 64;

    /// <summary>
    /// SO_REUSEADDR, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_PRIORITY, SO_LINGER, SO_REUSEPORT, SO_PASSCRED, SO_RCVLOWAT, SO_RCVTIMEO,
    /// SO_SNDTIMEO, SO_TIMESTAMP, SO_PASSSEC, SO_TIMESTAMPNS, SO_MARK, SO_TIMESTAMPING, SO_RXQ_OVFL, SO_PEEK_OFF, SO_BUSY_POLL, SO_ZEROCOPY,
    /// SO_PASSPIDFD.
    /// </summary>
    private static readonly int[] General = [2, 6, 9, 10, 12, 13, 15, 16, 18, 20, 21, 29, 34, 35, 36, 37, 40, 42, 46, 60, 76];

    /// <summary>
    /// IP_TOS, IP_TTL, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_FREEBIND, IP_TRANSPARENT, IP_MINTTL,
    /// IP_BIND_ADDRESS_NO_PORT, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MULTICAST_ALL.
    /// </summary>
    private static readonly int[] Ip = [1, 2, 8, 10, 11, 12, 13, 15, 19, 21, 24, 33, 34, 49];

    /// <summary>
    /// IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_V6ONLY, IPV6_RECVPKTINFO,
    /// IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_TCLASS, IPV6_TRANSPARENT, IPV6_FREEBIND.
    /// </summary>
    private static readonly int[] Ip6 = [16, 18, 19, 23, 25, 26, 49, 51, 66, 67, 75, 78];

    /// <summary>
    /// TCP_NODELAY, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_WINDOW_CLAMP,
    /// TCP_CONGESTION, TCP_USER_TIMEOUT, TCP_FASTOPEN, TCP_NOTSENT_LOWAT, TCP_SAVE_SYN.
    /// </summary>
    private static readonly int[] Tcp = [1, 3, 4, 5, 6, 7, 8, 9, 10, 13, 18, 23, 25, 27];

    /// <summary>NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_LISTEN_ALL_NSID, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK.</summary>
    private static readonly int[] NetlinkOptions = [3, 4, 5, 8, 10, 11, 12];

    /// <summary>Compares with a new socket of the same kind; refuses what cannot be read back.</summary>
    public static IEnumerable<SocketOption> Capture(CaptureContext context, CapturedFile file, SocketKind kind)
    {
        var errno = SocketQuery.Open(kind.Family, kind.Type, kind.Protocol, out var fresh);
        using (fresh)
        {
            if (errno != Errno.None)
                throw new LinuxException("socket", errno, $"a socket like {file.Subject}");
            RefuseFilter(context, file);
            return [.. Device(context, file), .. Buffers(file), .. Levels(kind).SelectMany(level => Differing(file, fresh, level.Level, level.Names))];
        }
    }

    private static IEnumerable<(int Level, int[] Names)> Levels(SocketKind kind)
    {
        yield return (SOL_SOCKET, General);
        if (kind.Family is SocketKind.Inet)
            yield return (IPPROTO_IP, Ip);
        if (kind.Family is SocketKind.Inet6)
            yield return (IPPROTO_IPV6, Ip6);
        if (kind.Protocol == IPPROTO_TCP)
            yield return (IPPROTO_TCP, Tcp);
        if (kind.Family is SocketKind.Netlink)
            yield return (SOL_NETLINK, NetlinkOptions);
    }

    private static List<SocketOption> Differing(CapturedFile file, SafeFileHandle fresh, int level, int[] names)
    {
        Span<byte> value = stackalloc byte[LargestValueBytes];
        Span<byte> initial = stackalloc byte[LargestValueBytes];
        var options = new List<SocketOption>();
        foreach (var name in names)
        {
            // An option that this kernel or this kind of socket does not have cannot have been set either.
            if (SocketQuery.GetOption(file.Handle, level, name, value, out var length) != Errno.None
                || SocketQuery.GetOption(fresh, level, name, initial, out var initialLength) != Errno.None
                || value[..length].SequenceEqual(initial[..initialLength]))
                continue;
            options.Add(new SocketOption { Level = level, Name = name, Value = ByteString.CopyFrom(value[..length]) });
        }
        return options;
    }

    /// <summary>Buffer sizes that the application chose (SO_BUF_LOCK); others the kernel chooses again. getsockopt tells twice what was asked for.</summary>
    private static IEnumerable<SocketOption> Buffers(CapturedFile file)
    {
        if (SocketQuery.GetOption(file.Handle, SOL_SOCKET, SO_BUF_LOCK, out var locked) != Errno.None)
            yield break;
        if ((locked & SOCK_SNDBUF_LOCK) != 0 && SocketQuery.GetOption(file.Handle, SOL_SOCKET, SO_SNDBUF, out var send) == Errno.None)
            yield return Integer(SO_SNDBUFFORCE, send / 2);
        if ((locked & SOCK_RCVBUF_LOCK) != 0 && SocketQuery.GetOption(file.Handle, SOL_SOCKET, SO_RCVBUF, out var receive) == Errno.None)
            yield return Integer(SO_RCVBUFFORCE, receive / 2);
    }

    private static SocketOption Integer(int name, int value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return new SocketOption { Level = SOL_SOCKET, Name = name, Value = ByteString.CopyFrom(bytes) };
    }

    private static IEnumerable<SocketOption> Device(CaptureContext context, CapturedFile file)
    {
        Span<byte> name = stackalloc byte[LargestValueBytes];
        if (SocketQuery.GetOption(file.Handle, SOL_SOCKET, SO_BINDTODEVICE, name, out var length) != Errno.None || length == 0)
            return [];
        var device = System.Text.Encoding.ASCII.GetString(name[..length]).TrimEnd('\0');
        if (device != "lo")
            context.Refuse(file.Subject, $"a socket bound to network device {device}", "Bind it to an address; clones have only lo.");
        return [new SocketOption { Level = SOL_SOCKET, Name = SO_BINDTODEVICE, Value = ByteString.CopyFrom(name[..length]) }];
    }

    /// <summary>With no room given, SO_GET_FILTER tells how many instructions a socket's classic BPF filter has.</summary>
    private static void RefuseFilter(CaptureContext context, CapturedFile file)
    {
        if (SocketQuery.GetOption(file.Handle, SOL_SOCKET, SO_GET_FILTER, [], out var instructions) == Errno.None && instructions > 0)
            context.Refuse(file.Subject, "a socket with a packet filter (SO_ATTACH_FILTER)", "Attach the filter after the worker was ready.");
    }
}
