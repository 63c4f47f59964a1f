using Snapshots.Images.V1;

namespace Snapshots.Images.Validation;

/// <summary>Rules of the descriptors, open files and pipes of a process: whatever one names by id or index must be there.</summary>
internal static class DescriptorRules
{
    public static void Check(ProcessImage process, Manifest manifest, HashSet<uint> sharedMemory, Rule rule)
    {
        rule.Limit(process.Descriptors.Count, ImageLimits.MaxDescriptors, "descriptors");
        rule.Limit(process.OpenFiles.Count, ImageLimits.MaxDescriptors, "open files");
        var pipes = CheckPipes(process, rule);
        var openFiles = new HashSet<uint>();
        foreach (var file in process.OpenFiles)
            rule.Require(file.Id != 0 && openFiles.Add(file.Id), $"open file {file.Id}", "ids must differ and not be 0");
        CheckTable(process, openFiles, rule);
        foreach (var file in process.OpenFiles)
            CheckOpenFile(file, new Known(manifest, sharedMemory, pipes, openFiles), rule);
    }

    private readonly record struct Known(Manifest Manifest, HashSet<uint> SharedMemory, HashSet<uint> Pipes, HashSet<uint> OpenFiles);

    private static HashSet<uint> CheckPipes(ProcessImage process, Rule rule)
    {
        rule.Limit(process.Pipes.Count, ImageLimits.MaxPipes, "pipes");
        var pipes = new HashSet<uint>();
        foreach (var pipe in process.Pipes)
        {
            rule.Require(pipes.Add(pipe.Id), $"pipe {pipe.Id}", "ids must differ");
            rule.Limit(Math.Max(pipe.Contents.Length, pipe.CapacityBytes), ImageLimits.MaxPipeBytes, $"bytes in pipe {pipe.Id}");
            rule.Require(pipe.CapacityBytes == 0 || pipe.Contents.Length <= pipe.CapacityBytes, $"pipe {pipe.Id}", "holds more than its capacity");
        }
        return pipes;
    }

    private static void CheckTable(ProcessImage process, HashSet<uint> openFiles, Rule rule)
    {
        var numbers = new HashSet<uint>();
        foreach (var entry in process.Descriptors)
        {
            rule.Require(entry.Fd < ImageLimits.MaxDescriptors && numbers.Add(entry.Fd), $"fd {entry.Fd}", "numbers must be possible and differ");
            rule.Require(openFiles.Contains(entry.OpenFile), $"fd {entry.Fd}", "must name an open file of the image");
        }
    }

    private static void CheckOpenFile(OpenFile file, Known known, Rule rule)
    {
        var part = $"open file {file.Id} ({file.Description})";
        switch (file.KindCase)
        {
            case OpenFile.KindOneofCase.Regular:
                rule.Require(file.Regular.File < known.Manifest.Files.Count, part, "must name a file of the image");
                break;
            case OpenFile.KindOneofCase.Pipe:
                rule.Require(known.Pipes.Contains(file.Pipe.Pipe), part, "must name a pipe of the image");
                break;
            case OpenFile.KindOneofCase.External:
                rule.Require(Enum.IsDefined(file.External.Role) && file.External.Role != ExternalRole.Unspecified, part, "has an unknown role");
                break;
            case OpenFile.KindOneofCase.Epoll:
                foreach (var interest in file.Epoll.Interests)
                    rule.Require(known.OpenFiles.Contains(interest.OpenFile) && interest.Fd < ImageLimits.MaxDescriptors, part, "must watch open files of the image");
                break;
            case OpenFile.KindOneofCase.Inotify:
                foreach (var watch in file.Inotify.Watches)
                    ManifestValidator.CheckPath(watch.Path, $"{part}, watch {watch.WatchDescriptor}", rule);
                break;
            case OpenFile.KindOneofCase.MemFd:
                rule.Require(known.SharedMemory.Contains(file.MemFd.SharedMemory), part, "must name a shared memory object of the image");
                break;
            case OpenFile.KindOneofCase.UnixSocket:
                CheckUnixSocket(file.UnixSocket, known, part, rule);
                break;
            case OpenFile.KindOneofCase.InetSocket:
                CheckInetSocket(file.InetSocket, part, rule);
                break;
            case OpenFile.KindOneofCase.NetlinkSocket:
                CheckOptions(file.NetlinkSocket.Options, part, rule);
                break;
            case OpenFile.KindOneofCase.EventFd or OpenFile.KindOneofCase.TimerFd or OpenFile.KindOneofCase.SignalFd:
                break;
            default:
                rule.Require(false, part, "has an unknown kind");
                break;
        }
    }

    private static void CheckUnixSocket(UnixSocket socket, Known known, string part, Rule rule)
    {
        rule.Require(socket.Name.Length <= ImageLimits.MaxSunPathBytes, part, "its name is too long");
        rule.Require(socket.PeerOpenFile == 0 || known.OpenFiles.Contains(socket.PeerOpenFile), part, "its peer must be an open file of the image");
        rule.Limit(socket.ReceiveQueue.Sum(message => (long)message.Length), ImageLimits.MaxQueuedBytes, $"bytes queued in {part}");
        CheckOptions(socket.Options, part, rule);
    }

    private static void CheckInetSocket(InetSocket socket, string part, Rule rule)
    {
        const uint AF_INET = 2, AF_INET6 = 10;
        rule.Require(socket.Family is AF_INET or AF_INET6, part, $"has the unknown family {socket.Family}");
        var addressBytes = socket.Family == AF_INET ? 4 : 16;
        rule.Require(socket.LocalAddress.Length == addressBytes || (!socket.Bound && socket.LocalAddress.IsEmpty), part, $"its address must have {addressBytes} bytes");
        rule.Require(socket.LocalPort <= ushort.MaxValue, part, "has an impossible port");
        CheckOptions(socket.Options, part, rule);
    }

    private static void CheckOptions(IEnumerable<SocketOption> options, string part, Rule rule)
    {
        foreach (var option in options)
            rule.Limit(option.Value.Length, ImageLimits.MaxSocketOptionBytes, $"bytes in a socket option of {part}");
    }
}
