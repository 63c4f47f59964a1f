using Snapshots.Images.V1;
using Snapshots.Linux;
using Kind = Snapshots.Images.V1.OpenFile.KindOneofCase;

namespace Snapshots.RestorePool.Programs;

/// <summary>Creates open file descriptions, one kind each; see the compilers it calls for the kinds with more than a few entries.</summary>
internal sealed class OpenFileCompiler(DescriptorStage stage, DescriptorScript script, SharedMemoryCompiler memory, PrivateSocketPaths paths)
{
    private const int SeekSet = 0;
    private const int CurrentDirectory = -100;

    private readonly PipeCompiler _pipes = new(stage, script);
    private readonly UnixSocketCompiler _unixSockets = new(script, paths);

    /// <summary>Creates the file, unless it exists already as the other end of a pair, and brings it to its numbers.</summary>
    public void CreateAndPlace(uint id)
    {
        if (!script.IsCreated(id))
            Create(script.File(id));
        script.Place(id);
    }

    private void Create(OpenFile file)
    {
        switch (file.KindCase)
        {
            case Kind.Regular: CreateRegular(file); break;
            case Kind.Pipe: _pipes.Create(file); break;
            case Kind.EventFd: TimerAndEventCompiler.CreateEventFd(script, file); break;
            case Kind.TimerFd: TimerAndEventCompiler.CreateTimerFd(script, file); break;
            case Kind.SignalFd: TimerAndEventCompiler.CreateSignalFd(script, file); break;
            case Kind.Epoll: EpollCompiler.Create(script, file); break;
            case Kind.Inotify: InotifyCompiler.Create(script, file); break;
            case Kind.MemFd: memory.CreateDescriptor(file); break;
            case Kind.UnixSocket: _unixSockets.Create(file); break;
            case Kind.InetSocket: InetSocketCompiler.Create(script, file); break;
            case Kind.NetlinkSocket: NetlinkSocketCompiler.Create(script, file); break;
            case Kind.External: ReopenExternal(file); break;
            default:
                throw new InvalidDataException($"{script.SubjectOf(file)}: unknown kind {file.KindCase}; the image was written by a newer version");
        }
    }

    /// <summary>Files, directories and character devices: opened again by path, then moved to the offset.</summary>
    private void CreateRegular(OpenFile file)
    {
        var regular = file.Regular;
        if (regular.File >= stage.Manifest.Files.Count)
            throw new InvalidDataException($"{script.SubjectOf(file)}: the image has no file {regular.File}");
        var fd = Reopen(script, file, stage.Manifest.Files[(int)regular.File].Path);
        if (regular.OffsetBytes != 0 && (file.StatusFlags & OpenFlags.Path) == 0)
            script.Builder.Syscall(SyscallNumber.Lseek, script.SubjectOf(file), fd, regular.OffsetBytes, SeekSet).ExpectValue((long)regular.OffsetBytes);
    }

    /// <summary>A second open file of a received pipe.</summary>
    private void ReopenExternal(OpenFile file)
    {
        var received = ExternalPlan.For(stage.Process).FirstOrDefault(slot => slot.Role == file.External.Role)
            ?? throw new InvalidDataException($"{script.SubjectOf(file)}: the external was not received");
        ReopenByNumber(script, file, script.NumberOf(received.OpenFile));
    }

    /// <summary>openat(2) of <paramref name="path"/> with the status flags of <paramref name="file"/>.</summary>
    public static int Reopen(DescriptorScript script, OpenFile file, string path)
    {
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        var flags = (file.StatusFlags & ~OpenFlags.OnlyOnce) | script.NextFlag(file.Id);
        var entry = script.Builder.Syscall(SyscallNumber.Openat, script.SubjectOf(file), CurrentDirectory, script.Builder.Text(path), flags, 0);
        return script.Created(entry, file.Id, closeOnExec);
    }

    /// <summary>A second open file description of the object that is open at <paramref name="number"/>: opened through /proc.</summary>
    public static int ReopenByNumber(DescriptorScript script, OpenFile file, int number) => Reopen(script, file, $"/proc/self/fd/{number}");
}
