using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Netlink;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>
/// unix(7): pairs whose two ends are both inside, with what is queued in them; listening sockets; sockets without a peer. Which socket is the
/// peer of which only sock_diag in the target's network namespace tells.
/// </summary>
internal sealed class UnixSockets(CaptureContext context)
{
    private const int ReadDirection = 1;
    private const int BothDirections = 3;
    private const int SmallestBufferBytes = 256 * 1024;

    /// <summary>What a stream may hold unread; the default send buffer is 208 KiB.</summary>
    private const int LargestStreamBytes = 16 * 1024 * 1024;

    private readonly Dictionary<ulong, (CapturedFile File, SocketKind Kind)> _sockets = [];

    public void Capture(CapturedFile file, SocketKind kind)
    {
        file.Image.UnixSocket = new UnixSocket { Type = (uint)kind.Type };
        _sockets.Add(kind.Inode, (file, kind));
    }

    /// <summary>Describes all sockets when all are known.</summary>
    public void Connect()
    {
        if (_sockets.Count == 0)
            return;
        using var diag = SockDiag.OpenFor(context.Pid);
        var known = diag.UnixSockets().Where(socket => _sockets.ContainsKey(socket.Inode)).ToDictionary(socket => socket.Inode);
        foreach (var (inode, (file, kind)) in _sockets)
        {
            if (!known.TryGetValue(inode, out var info))
                context.Refuse(file.Subject, "a unix socket of another network namespace", "Close it before the worker is ready.");
            else
                Describe(file, kind, info);
        }
    }

    private void Describe(CapturedFile file, SocketKind kind, UnixSocketInfo info)
    {
        var socket = file.Image.UnixSocket;
        socket.Options.AddRange(SocketOptions.Capture(context, file, kind));
        socket.Shutdown = (uint)info.Shutdown;
        if (file.Info.DescriptorsInQueue is > 0)
            context.Refuse(file.Subject, "descriptors under way in its receive queue (SCM_RIGHTS)", "Let the worker receive them before it is ready.");
        else if (info.IsListening)
            DescribeListening(file, info);
        else if (info.PeerInode != 0 || info.State == SocketState.Established)
            DescribeConnected(file, info);
        else
            DescribeUnconnected(file, info);
    }

    private void DescribeListening(CapturedFile file, UnixSocketInfo info)
    {
        file.Image.UnixSocket.Listening = true;
        file.Image.UnixSocket.Backlog = info.SendQueue;
        DescribeName(file, info);
        if (info.ReceiveQueue != 0)
            context.Refuse(file.Subject, $"{info.ReceiveQueue} connections wait to be accepted", "Accept or refuse them before the worker is ready.");
    }

    private void DescribeConnected(CapturedFile file, UnixSocketInfo info)
    {
        if (info.Name.Length != 0)
        {
            context.Refuse(file.Subject, $"an accepted or bound connection on {NameText(info.Name)}", "Close connections before the worker is ready; socketpair(2) comes along.");
            return;
        }
        if (_sockets.TryGetValue(info.PeerInode, out var peer))
            file.Image.UnixSocket.PeerOpenFile = peer.File.Id;
        else if (info.PeerInode == 0 && (info.Type == SocketKind.Datagram || info.Shutdown == BothDirections))
            file.Image.UnixSocket.PeerClosed = true;
        else
        {
            context.Refuse(file.Subject, "a unix connection whose other end is outside the worker",
                "Close it before the worker is ready and connect again in the clone; the channel comes along by itself.");
            return;
        }
        file.Image.UnixSocket.ReceiveQueue.AddRange(PeekQueue(file, info));
    }

    private void DescribeUnconnected(CapturedFile file, UnixSocketInfo info)
    {
        DescribeName(file, info);
        if (info.Type == SocketKind.Datagram && SocketKind.HasQueuedData(file))
            context.Refuse(file.Subject, "unread datagrams", "Let the worker read them before it is ready.");
    }

    private void DescribeName(CapturedFile file, UnixSocketInfo info)
    {
        var name = TrimPath(info.Name);
        file.Image.UnixSocket.Name = ByteString.CopyFrom(name);
        if (name.Length != 0 && name[0] is not (0 or (byte)'/'))
            context.Refuse(file.Subject, $"bound to the relative path {NameText(name)}", "Bind it to an absolute path or an abstract name.");
    }

    /// <summary>Paths may come with the NUL that ended them; in abstract names every byte counts.</summary>
    private static ReadOnlySpan<byte> TrimPath(ReadOnlySpan<byte> name) => name.IsEmpty || name[0] == 0 ? name : name.TrimEnd((byte)0);

    private static string NameText(ReadOnlySpan<byte> name) => System.Text.Encoding.UTF8.GetString(TrimPath(name)).Replace('\0', '@');

    private List<ByteString> PeekQueue(CapturedFile file, UnixSocketInfo info)
    {
        if (info.Type == SocketKind.Stream)
            return PeekStream(file);
        var messages = new List<ByteString>();
        // SO_PEEK_OFF makes each peek go on behind the one before; it is the socket's, so it is put back.
        if (SocketQuery.GetPeekOffset(file.Handle, out var before) != Errno.None || SocketQuery.SetPeekOffset(file.Handle, 0) != Errno.None)
            throw new InvalidDataException($"{file.Subject}: the kernel does not let its queue be peeked");
        try
        {
            var buffer = new byte[Math.Max(FileControl.GetReadableBytes(file.Handle, file.Subject), SmallestBufferBytes)];
            while (Next(file, buffer) is { } message)
                messages.Add(message);
        }
        finally
        {
            SocketQuery.SetPeekOffset(file.Handle, before);
        }
        return messages;
    }

    private ByteString? Next(CapturedFile file, byte[] buffer)
    {
        var errno = SocketQuery.Peek(file.Handle, buffer, out var length);
        if (errno != Errno.None)
            return null;
        // Zero is the end of a connection that was shut, or an empty message, behind which SO_PEEK_OFF cannot move.
        if (length == 0)
        {
            if ((file.Image.UnixSocket.Shutdown & ReadDirection) == 0)
                context.Refuse(file.Subject, "an unread empty message", "Let the worker read it before it is ready.");
            return null;
        }
        if (length > buffer.Length)
        {
            context.Refuse(file.Subject, $"an unread message of {length} bytes", $"Let the worker read messages above {buffer.Length} bytes before it is ready.");
            return null;
        }
        return ByteString.CopyFrom(buffer, 0, length);
    }

    private List<ByteString> PeekStream(CapturedFile file)
    {
        var expected = FileControl.GetReadableBytes(file.Handle, file.Subject);
        if (expected == 0)
            return [];
        var buffer = new byte[Math.Min(expected, LargestStreamBytes)];
        if (SocketQuery.Peek(file.Handle, buffer, out var length) == Errno.None && length == expected)
            return [ByteString.CopyFrom(buffer)];
        context.Refuse(file.Subject, $"its {expected} unread bytes cannot be copied", "Let the worker read them before it is ready.");
        return [];
    }
}
