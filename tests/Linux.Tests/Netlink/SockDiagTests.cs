using System.Net;
using System.Net.Sockets;
using System.Text;
using Snapshots.Linux.Netlink;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Xunit;

namespace Snapshots.Linux.Tests.Netlink;

public sealed class SockDiagTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Finds_a_listening_socket_with_its_backlog(bool ipv6)
    {
        using var listener = new Socket(ipv6 ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        var address = ipv6 ? IPAddress.IPv6Loopback : IPAddress.Loopback;
        listener.Bind(new IPEndPoint(address, 0));
        listener.Listen(7);
        using var diag = SockDiag.Open();
        var socket = Assert.Single(diag.AllInetSockets(), socket => socket.Inode == InodeOf(listener));
        Assert.Equal((InetProtocol.Tcp, SocketState.Listening, ipv6, 7u), (socket.Protocol, socket.State, socket.IsIpv6, socket.Backlog));
        Assert.Equal(((IPEndPoint)listener.LocalEndPoint!).Port, socket.LocalPort);
        Assert.Equal(address.GetAddressBytes(), socket.LocalAddress);
        Assert.Equal(0, socket.RemotePort);
    }

    [Fact]
    public void Tells_a_bound_udp_socket_from_a_connected_one()
    {
        using var bound = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        bound.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        using var connected = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        connected.Connect(bound.LocalEndPoint!);
        using var diag = SockDiag.Open();
        var sockets = diag.InetSockets(ipv6: false, InetProtocol.Udp);
        Assert.Equal(SocketState.Closed, Assert.Single(sockets, socket => socket.Inode == InodeOf(bound)).State);
        var other = Assert.Single(sockets, socket => socket.Inode == InodeOf(connected));
        Assert.Equal((SocketState.Established, ((IPEndPoint)bound.LocalEndPoint!).Port), (other.State, other.RemotePort));
    }

    [Fact]
    public void Finds_unix_sockets_with_names_backlog_pending_peers_and_queues()
    {
        var path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen(5);
            using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            client.Connect(new UnixDomainSocketEndPoint(path));
            using var diag = SockDiag.Open();
            var pending = Assert.Single(diag.UnixSockets(), socket => socket.Inode == InodeOf(listener));
            Assert.Equal((SocketState.Listening, 5u, 1u, 1), (pending.State, pending.SendQueue, pending.ReceiveQueue, pending.Type));
            Assert.Equal(path, Encoding.UTF8.GetString(pending.Name).TrimEnd('\0'));
            Assert.Single(pending.PendingInodes);
            Assert.NotNull(pending.File);
            using var accepted = listener.Accept();
            client.Send("hello"u8);
            client.Shutdown(SocketShutdown.Send);
            var sockets = diag.UnixSockets();
            var near = Assert.Single(sockets, socket => socket.Inode == InodeOf(client));
            var far = Assert.Single(sockets, socket => socket.Inode == InodeOf(accepted));
            Assert.Equal((far.Inode, near.Inode), (near.PeerInode, far.PeerInode));
            Assert.Equal(5u, far.ReceiveQueue);
            Assert.Equal((2, 1), (near.Shutdown, far.Shutdown));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Looks_into_the_network_namespace_of_another_process()
    {
        using var probe = PythonProbe.Start("""
            assert libc.unshare(0x40000000) == 0
            listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            listener.setsockopt(41, 26, 1)
            listener.bind(('::', 0))
            listener.listen(3)
            route = socket.socket(16, socket.SOCK_RAW, 0)
            route.bind((0, 1 | 1 << 4))
            report.update(port=listener.getsockname()[1], ino=os.fstat(listener.fileno()).st_ino, route=os.fstat(route.fileno()).st_ino, port_id=route.getsockname()[0])
            """);
        using (var diag = SockDiag.OpenFor(probe.Pid))
        {
            var socket = Assert.Single(diag.InetSockets(ipv6: true, InetProtocol.Tcp));
            Assert.Equal((probe.Number("ino"), probe.Fd("port"), 3u), (socket.Inode, socket.LocalPort, socket.Backlog));
            var route = Assert.Single(diag.NetlinkSockets(), one => one.Inode == probe.Number("route"));
            Assert.Equal((0, 3, (uint)probe.Number("port_id")), (route.Protocol, route.Type, route.PortId));
            Assert.Equal([1u, 5u], route.Groups);
        }
        using var ours = SockDiag.Open();
        Assert.DoesNotContain(ours.AllInetSockets(), socket => socket.Inode == probe.Number("ino"));
    }

    [Fact]
    public void A_failure_inside_the_other_namespace_comes_out_and_our_thread_stays()
    {
        using var own = NetworkNamespace.Open(Environment.ProcessId);
        var before = ReadOwnNamespace();
        Assert.Throws<InvalidOperationException>(() => NetworkNamespace.RunIn<int>(own, () => throw new InvalidOperationException("inside")));
        Assert.Equal(before, ReadOwnNamespace());
        Assert.Equal(42, NetworkNamespace.RunIn(own, () => 42));
    }

    private static string ReadOwnNamespace()
    {
        Assert.Equal(Errno.None, ReadLink.Read("/proc/thread-self/ns/net", out var target));
        return target;
    }

    private static ulong InodeOf(Socket socket)
    {
        var target = Descriptors.Read(Environment.ProcessId).Single(link => link.Fd == (int)socket.Handle).Target;
        return ulong.Parse(target.AsSpan("socket:[".Length, target.Length - "socket:[]".Length), System.Globalization.CultureInfo.InvariantCulture);
    }
}
