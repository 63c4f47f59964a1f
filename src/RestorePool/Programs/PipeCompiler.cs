using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>Pipes with both ends inside, or whose other end nobody holds any more.</summary>
internal sealed class PipeCompiler(DescriptorStage stage, DescriptorScript script)
{
    /// <summary>F_SETPIPE_SZ of fcntl(2).</summary>
    private const int SetPipeSize = 1031;

    /// <summary>Capacity of a new pipe (pipe(7)), bytes.</summary>
    private const uint DefaultCapacityBytes = 65536;

    private const uint InheritedFlags = OpenFlags.NonBlocking | OpenFlags.Direct;

    /// <summary>Creates the pipe of <paramref name="file"/> with all descriptions of its two ends.</summary>
    public void Create(OpenFile file)
    {
        var pipe = stage.Process.Pipes.FirstOrDefault(pipe => pipe.Id == file.Pipe.Pipe)
            ?? throw new InvalidDataException($"{script.SubjectOf(file)}: the image has no pipe {file.Pipe.Pipe}");
        var ends = stage.Process.OpenFiles
            .Where(other => other.KindCase == OpenFile.KindOneofCase.Pipe && other.Pipe.Pipe == pipe.Id && script.WantedOf(other.Id).Any())
            .OrderBy(other => script.WantedOf(other.Id).First().Fd)
            .ToList();
        var reader = ends.FirstOrDefault(end => !end.Pipe.Write);
        var writer = ends.FirstOrDefault(end => end.Pipe.Write);
        var (readFd, writeFd) = CreatePair(reader, writer, script.SubjectOf(file));
        SetCapacity(pipe, writeFd, script.SubjectOf(file));
        Fill(pipe, writeFd, script.SubjectOf(file));
        foreach (var extra in ends.Where(end => end != reader && end != writer))
            OpenFileCompiler.ReopenByNumber(script, extra, extra.Pipe.Write ? writeFd : readFd);
        CloseAbsentEnd(reader, readFd, script.SubjectOf(file));
        CloseAbsentEnd(writer, writeFd, script.SubjectOf(file));
        foreach (var end in ends)
            script.Place(end.Id);
    }

    private (int ReadFd, int WriteFd) CreatePair(OpenFile? reader, OpenFile? writer, string subject)
    {
        var common = (reader ?? writer)!.StatusFlags & (writer ?? reader)!.StatusFlags & InheritedFlags;
        var pair = new PairCreation(script, reader?.Id, writer?.Id);
        script.Builder.Syscall(SyscallNumber.Pipe2, subject, script.Builder.Word(), common | pair.Flag);
        var (readFd, writeFd) = pair.Created();
        foreach (var (end, fd) in new[] { (reader, readFd), (writer, writeFd) })
        {
            if (end is not null && (end.StatusFlags & InheritedFlags) != common)
                script.SetStatusFlags(fd, end.StatusFlags & InheritedFlags, subject);
        }
        return (readFd, writeFd);
    }

    private void SetCapacity(Pipe pipe, int fd, string subject)
    {
        if (pipe.CapacityBytes is not (0 or DefaultCapacityBytes))
            script.Builder.Syscall(SyscallNumber.Fcntl, subject, fd, SetPipeSize, pipe.CapacityBytes).ExpectValue(pipe.CapacityBytes);
    }

    private void Fill(Pipe pipe, int fd, string subject)
    {
        if (!pipe.Contents.IsEmpty)
            script.Builder.Syscall(SyscallNumber.Write, subject, fd, script.Builder.Data(pipe.Contents.Span), pipe.Contents.Length).ExpectValue(pipe.Contents.Length);
    }

    /// <summary>The other end of this pipe was closed in the frozen process: readers must see end of file, writers EPIPE.</summary>
    private void CloseAbsentEnd(OpenFile? end, int fd, string subject)
    {
        if (end is null)
            script.Close(fd, subject);
    }
}

/// <summary>The numbers and the close-on-exec flag of a call that creates two descriptors.</summary>
internal sealed class PairCreation
{
    private readonly DescriptorScript _script;
    private readonly uint? _first;
    private readonly uint? _second;
    private readonly bool _closeOnExec;

    /// <param name="script">The table the pair is created in.</param>
    /// <param name="first">The file at the lower number; null for an end that nobody wants.</param>
    /// <param name="second">The other file; null as above.</param>
    public PairCreation(DescriptorScript script, uint? first, uint? second)
    {
        _script = script;
        _first = first;
        _second = second;
        _closeOnExec = first is { } file ? script.NextIsCloseOnExec(file) : script.IsCloseOnExecAt(SecondNumber(), second!.Value);
    }

    public uint Flag => _closeOnExec ? DescriptorScript.CloseOnExecFlag : 0;

    public (int First, int Second) Created() => _script.CreatedPair(_first ?? _script.NewTemporary(), _second ?? _script.NewTemporary(), _closeOnExec);

    private int SecondNumber()
    {
        var number = _script.Table.LowestFree + 1;
        while (_script.Table.FileAt(number) is not null)
            number++;
        return number;
    }
}
