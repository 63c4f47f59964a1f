using System.Globalization;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>What socket(2) was called with, as SO_DOMAIN, SO_TYPE and SO_PROTOCOL tell, and the number in "socket:[N]".</summary>
internal readonly record struct SocketKind(int Family, int Type, int Protocol, ulong Inode)
{
    public const int Unix = 1;
    public const int Inet = 2;
    public const int Inet6 = 10;
    public const int Netlink = 16;

    public const int Stream = 1;
    public const int Datagram = 2;
    public const int SequencedPacket = 5;

    private const int SOL_SOCKET = 1;
    private const int SO_TYPE = 3;
    private const int SO_ACCEPTCONN = 30;
    private const int SO_PROTOCOL = 38;
    private const int SO_DOMAIN = 39;
    private const string LinkPrefix = "socket:[";

    public static SocketKind Of(CapturedFile file) => new(
        Option(file, SO_DOMAIN),
        Option(file, SO_TYPE),
        Option(file, SO_PROTOCOL),
        ulong.Parse(file.Link.AsSpan(LinkPrefix.Length).TrimEnd(']'), NumberStyles.None, CultureInfo.InvariantCulture));

    public static bool IsListening(CapturedFile file) => Option(file, SO_ACCEPTCONN) != 0;

    /// <summary>True when something can be read, a pending error included.</summary>
    public static bool HasQueuedData(CapturedFile file)
    {
        Span<byte> none = stackalloc byte[1];
        return SocketQuery.Peek(file.Handle, none, out _) is Errno.None;
    }

    private static int Option(CapturedFile file, int name)
    {
        var errno = SocketQuery.GetOption(file.Handle, SOL_SOCKET, name, out var value);
        return errno == Errno.None ? value : throw new LinuxException($"getsockopt(SOL_SOCKET, {name})", errno, file.Subject);
    }
}
