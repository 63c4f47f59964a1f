using System.Buffers.Binary;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>sockaddr structures as bind(2) and connect(2) take them.</summary>
internal static class SocketAddress
{
    public const ushort Unix = 1;
    public const ushort Inet = 2;
    public const ushort Inet6 = 10;
    public const ushort Netlink = 16;

    /// <summary>Room in sun_path, with the NUL of a path (unix(7)).</summary>
    private const int UnixPathCapacityBytes = 108;

    /// <summary>sockaddr_un. A path gets its NUL; an abstract name begins with one and is exactly as long as it is.</summary>
    public static byte[] ForUnix(ReadOnlySpan<byte> name)
    {
        var isAbstract = !name.IsEmpty && name[0] == 0;
        var bytes = new byte[2 + name.Length + (isAbstract ? 0 : 1)];
        if (name.IsEmpty || bytes.Length - 2 > UnixPathCapacityBytes)
            throw new InvalidDataException($"a unix socket name of {name.Length} bytes cannot be bound");
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, Unix);
        name.CopyTo(bytes.AsSpan(2));
        return bytes;
    }

    /// <summary>sockaddr_in or sockaddr_in6 (uapi <c>linux/in.h</c>, <c>linux/in6.h</c>).</summary>
    public static byte[] ForInet(InetSocket socket)
    {
        var (length, addressOffset, addressLength) = socket.Family == Inet6 ? (28, 8, 16) : (16, 4, 4);
        if (socket.LocalAddress.Length != addressLength)
            throw new InvalidDataException($"a local address of {socket.LocalAddress.Length} bytes does not fit family {socket.Family}");
        var bytes = new byte[length];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)socket.Family);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(2), (ushort)socket.LocalPort);
        socket.LocalAddress.Span.CopyTo(bytes.AsSpan(addressOffset));
        if (socket.Family == Inet6)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(24), socket.ScopeId);
        return bytes;
    }

    /// <summary>sockaddr_nl (uapi <c>linux/netlink.h</c>): u16 family, u16 pad, u32 port id, u32 mask of groups 1 to 32.</summary>
    public static byte[] ForNetlink(NetlinkSocket socket)
    {
        var bytes = new byte[12];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, Netlink);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), socket.PortId);
        return bytes;
    }
}
