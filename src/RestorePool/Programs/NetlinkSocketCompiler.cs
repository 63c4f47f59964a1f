using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>netlink(7) sockets: port id and group memberships.</summary>
internal static class NetlinkSocketCompiler
{
    private const int SolNetlink = 270;
    private const int AddMembership = 1;

    public static void Create(DescriptorScript script, OpenFile file)
    {
        var socket = file.NetlinkSocket;
        var subject = script.SubjectOf(file);
        var fd = SocketCreation.Create(script, file, SocketAddress.Netlink, socket.Type, socket.Protocol);
        SocketCreation.SetOptions(script, fd, socket.Options, subject);
        if (socket.Bound)
            SocketCreation.Bind(script, fd, SocketAddress.ForNetlink(socket), subject);
        foreach (var group in socket.Groups)
            SocketCreation.SetOption(script, fd, SolNetlink, AddMembership, (int)group, subject);
    }
}
