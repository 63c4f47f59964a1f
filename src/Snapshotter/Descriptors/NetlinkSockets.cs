using System.Buffers.Binary;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>netlink(7): port id, groups and options; a socket with unread messages is refused.</summary>
internal static class NetlinkSockets
{
    private const int SOL_NETLINK = 270;
    private const int NETLINK_LIST_MEMBERSHIPS = 9;

    /// <summary>Room for 1024 groups; the families of today have fewer than 64.</summary>
    private const int GroupBytes = 128;

    public static void Capture(CaptureContext context, CapturedFile file, SocketKind kind)
    {
        if (SocketKind.HasQueuedData(file))
            context.Refuse(file.Subject, "unread netlink messages", "Let the worker read them before it is ready.");
        var errno = SocketQuery.GetName(file.Handle, out var name);
        if (errno != Errno.None)
            throw new LinuxException("getsockname", errno, file.Subject);
        // struct sockaddr_nl: u16 family, u16 pad, u32 port id, u32 groups.
        var portId = BinaryPrimitives.ReadUInt32LittleEndian(name.AsSpan(4));
        var socket = new NetlinkSocket { Protocol = (uint)kind.Protocol, Type = (uint)kind.Type, PortId = portId, Bound = portId != 0 };
        file.Image.NetlinkSocket = socket;
        socket.Groups.AddRange(Groups(file));
        socket.Options.AddRange(SocketOptions.Capture(context, file, kind));
        if (SocketQuery.GetPeerName(file.Handle, out var peer) == Errno.None && BinaryPrimitives.ReadUInt32LittleEndian(peer.AsSpan(4)) != 0)
            context.Refuse(file.Subject, "a netlink socket connected to another process", "Close it before the worker is ready.");
    }

    /// <summary>Group N is bit N-1 of the bitmap that the kernel returns.</summary>
    private static List<uint> Groups(CapturedFile file)
    {
        Span<byte> bitmap = stackalloc byte[GroupBytes];
        var groups = new List<uint>();
        if (SocketQuery.GetOption(file.Handle, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, bitmap, out var length) != Errno.None)
            return groups;
        for (var bit = 0; bit < Math.Min(length, GroupBytes) * 8; bit++)
        {
            if ((bitmap[bit / 8] >> (bit % 8) & 1) != 0)
                groups.Add((uint)bit + 1);
        }
        return groups;
    }
}
