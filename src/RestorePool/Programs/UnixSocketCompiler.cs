using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>unix(7) sockets: pairs with what is queued in them, listening sockets, and sockets that are not connected.</summary>
internal sealed class UnixSocketCompiler(DescriptorScript script, PrivateSocketPaths paths)
{
    private const uint ShutdownRead = 1;
    private const uint ShutdownWrite = 2;
    private const uint Datagram = 2;

    /// <summary>MSG_DONTWAIT and MSG_NOSIGNAL: a queue that does not fit must fail, not hang the clone.</summary>
    private const uint SendFlags = 0x40 | 0x4000;

    public void Create(OpenFile file)
    {
        if (file.UnixSocket.PeerOpenFile != 0)
            CreatePair(file, script.File(file.UnixSocket.PeerOpenFile));
        else if (file.UnixSocket.PeerClosed)
            CreatePair(file, null);
        else
            CreateSingle(file);
    }

    private void CreatePair(OpenFile file, OpenFile? peer)
    {
        var subject = script.SubjectOf(file);
        var pair = new PairCreation(script, file.Id, peer?.Id);
        var common = file.StatusFlags & (peer ?? file).StatusFlags & OpenFlags.NonBlocking;
        script.Builder.Syscall(SyscallNumber.Socketpair, subject, (uint)SocketAddress.Unix, file.UnixSocket.Type | common | pair.Flag, 0, script.Builder.Word());
        var (fd, peerFd) = pair.Created();
        Configure(file, fd, common);
        if (peer is not null)
            Configure(peer, peerFd, common);
        Fill(file, fd: peerFd);
        if (peer is not null)
            Fill(peer, fd);
        Shutdown(file, fd, peer, peerFd);
        script.Place(file.Id);
        if (peer is null)
            script.Close(peerFd, subject);
        else
            script.Place(peer.Id);
    }

    private void Configure(OpenFile file, int fd, uint common)
    {
        SocketCreation.SetOptions(script, fd, file.UnixSocket.Options, script.SubjectOf(file));
        if ((file.StatusFlags & OpenFlags.NonBlocking) != common)
            script.SetStatusFlags(fd, file.StatusFlags & OpenFlags.NonBlocking, script.SubjectOf(file));
    }

    /// <summary>Sends what the frozen socket had not read yet, from <paramref name="fd"/>, its peer.</summary>
    private void Fill(OpenFile receiver, int fd)
    {
        foreach (var message in receiver.UnixSocket.ReceiveQueue)
            Send(fd, message, script.SubjectOf(receiver));
    }

    private void Send(int fd, ByteString message, string subject) =>
        script.Builder.Syscall(SyscallNumber.Sendto, $"{subject}, its receive queue", fd, script.Builder.Data(message.Span), message.Length, SendFlags, 0, 0)
            .ExpectValue(message.Length);

    private void Shutdown(OpenFile file, int fd, OpenFile? peer, int peerFd)
    {
        var own = file.UnixSocket.Shutdown;
        var others = peer?.UnixSocket.Shutdown ?? 0;
        if (file.UnixSocket.Type == Datagram)
        {
            ShutDown(fd, own, script.SubjectOf(file));
            ShutDown(peerFd, others, script.SubjectOf(peer ?? file));
        }
        else if (peer is not null)
        {
            // On streams the kernel mirrors each direction to the peer, so what one end has shut says it for both.
            ShutDown(fd, own | ((others & ShutdownRead) << 1) | ((others & ShutdownWrite) >> 1), script.SubjectOf(file));
        }
    }

    private void ShutDown(int fd, uint directions, string subject)
    {
        var how = directions switch { ShutdownRead => 0, ShutdownWrite => 1, ShutdownRead | ShutdownWrite => 2, _ => -1 };
        if (how >= 0)
            script.Builder.Syscall(SyscallNumber.Shutdown, subject, fd, how);
    }

    private void CreateSingle(OpenFile file)
    {
        var socket = file.UnixSocket;
        var subject = script.SubjectOf(file);
        var fd = SocketCreation.Create(script, file, SocketAddress.Unix, socket.Type, 0);
        SocketCreation.SetOptions(script, fd, socket.Options, subject);
        if (PrivateSocketPaths.IsPath(socket))
        {
            paths.Add(file.Id, socket.Name.Span, socket.Listening ? socket.Backlog : null, subject);
            return;
        }
        // Abstract names belong to the network namespace, which is the clone's own.
        if (!socket.Name.IsEmpty)
            SocketCreation.Bind(script, fd, SocketAddress.ForUnix(socket.Name.Span), subject);
        if (socket.Listening)
            SocketCreation.Listen(script, fd, socket.Backlog, subject);
    }
}
