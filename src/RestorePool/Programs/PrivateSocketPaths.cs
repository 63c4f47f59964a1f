namespace Snapshots.RestorePool.Programs;

/// <summary>Binds sockets to paths of the file system.</summary>
internal sealed class PrivateSocketPaths(DescriptorScript script)
{
    public void Bind(int fd, ReadOnlySpan<byte> path, string subject) =>
        SocketCreation.Bind(script, fd, SocketAddress.ForUnix(path), subject);
}
