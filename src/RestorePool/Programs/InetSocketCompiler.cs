using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>TCP and UDP sockets without a peer. Each clone has its own network namespace, so the port is free.</summary>
internal static class InetSocketCompiler
{
    public static void Create(DescriptorScript script, OpenFile file)
    {
        var socket = file.InetSocket;
        var subject = script.SubjectOf(file);
        var fd = SocketCreation.Create(script, file, socket.Family, socket.Type, socket.Protocol);
        // Before bind: SO_REUSEADDR, SO_REUSEPORT and IPV6_V6ONLY decide whether two sockets of the process can share a port.
        SocketCreation.SetOptions(script, fd, socket.Options, subject);
        if (socket.Bound)
            SocketCreation.Bind(script, fd, SocketAddress.ForInet(socket), subject);
        if (socket.Listening)
            SocketCreation.Listen(script, fd, socket.Backlog, subject);
    }
}
