using Snapshots.Images.V1;
using Snapshots.Linux;
using Kind = Snapshots.Images.V1.OpenFile.KindOneofCase;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Compiles the part of a clone program that rebuilds the frozen descriptor table and the memory objects that must be each clone's own.
/// <code>
/// ahead, before the start order:
/// 1. Keep the numbers at which the externals will arrive.
/// 2. Make, fill and map the shared memory objects that no descriptor refers to, each through one short-lived descriptor.
/// 3. In the order of the lowest wanted number, create every other open file that may grow old, give it its state, and bring it to its numbers.
/// 4. Register epoll interests as far as possible.
/// 5. Give the kept numbers up; receive the start order.
/// rest:
/// 6. Move the received externals to the numbers where the application knows them.
/// 7. As 3, for what must be made at the last moment: timers, files that are written to, whatever stands in the externals' way.
/// 8. Bind the sockets that have path names, each over its path in the clone's own mount namespace: whoever removes the file there takes the
///    mount away with it.
/// 9. Register the other epoll interests, each while the watched file is open at the number it was registered under.
/// 10. Close what only the program needed.
/// </code>
/// </summary>
/// <remarks>
/// Expects the clone in its own namespaces, its working directory entered, still with its privileges, and with RLIMIT_NOFILE above
/// <see cref="DescriptorStage.ControlDescriptor"/>. docs/descriptors.md says per kind what comes back and what does not.
/// </remarks>
public sealed class DescriptorCompiler
{
    private readonly DescriptorStage _stage;
    private readonly DescriptorScript _script;
    private readonly IReadOnlyList<ExternalSlot> _externals;
    private readonly SharedMemoryCompiler _memory;
    private readonly PrivateSocketPaths _paths;
    private readonly OpenFileCompiler _files;
    private readonly EpollCompiler _epolls;

    public DescriptorCompiler(DescriptorStage stage)
    {
        _stage = stage;
        _script = new DescriptorScript(stage.Builder, stage.Process, stage.ControlDescriptor);
        _externals = ExternalPlan.For(stage.Process);
        _memory = new SharedMemoryCompiler(stage, _script);
        _paths = new PrivateSocketPaths(_script);
        _files = new OpenFileCompiler(stage, _script, _memory, _paths);
        _epolls = new EpollCompiler(_script, stage.Process);
    }

    /// <summary>The lowest number for the engine's control socket that no descriptor and no epoll interest of the image uses.</summary>
    public static int LowestControlDescriptor(ProcessImage process)
    {
        var highest = process.Descriptors.Select(entry => (int)entry.Fd).DefaultIfEmpty(-1).Max();
        foreach (var file in process.OpenFiles.Where(file => file.KindCase == Kind.Epoll))
            highest = Math.Max(highest, file.Epoll.Interests.Select(interest => (int)interest.Fd).DefaultIfEmpty(-1).Max());
        return Math.Max(highest + 1, ExternalPlan.For(process).Count);
    }

    /// <summary>What a clone does before it has its start order. Leaves <c>0..n-1</c> free, where its n externals will then arrive.</summary>
    /// <exception cref="InvalidDataException">The image contradicts itself.</exception>
    public void CompileAhead()
    {
        KeepArrivalNumbers();
        _memory.CompileObjectsWithoutDescriptor();
        foreach (var id in WantedFiles().Where(id => MayGrowOld(_script.File(id))))
            _files.CreateAndPlace(id);
        _epolls.CompileInterestsInPlace();
        GiveArrivalNumbersUp();
    }

    /// <summary>What a clone does when its externals have arrived.</summary>
    /// <exception cref="InvalidDataException">The image contradicts itself.</exception>
    public void CompileRest()
    {
        ExternalCompiler.Compile(_script, _externals);
        foreach (var id in WantedFiles())
            _files.CreateAndPlace(id);
        _paths.Compile();
        _epolls.CompileInterests();
        _script.CloseLeftovers();
        _script.Verify();
    }

    private IEnumerable<uint> WantedFiles() =>
        _stage.Process.Descriptors.OrderBy(entry => entry.Fd).Select(entry => entry.OpenFile).Distinct();

    /// <summary>
    /// Whether a clone may have this open while it is parked. Not timers, whose time would run; not files that are written to, which may be replaced
    /// meanwhile (a log that is rotated); and nothing that is wanted at a number where an external arrives.
    /// </summary>
    private bool MayGrowOld(OpenFile file)
    {
        if (MadeTogether(file).Any(other => _script.WantedOf(other.Id).Any(want => want.Fd < _externals.Count)))
            return false;
        return file.KindCase switch
        {
            Kind.Regular => (file.StatusFlags & (OpenFlags.AccessMode | OpenFlags.Path)) is 0 or OpenFlags.Path,
            Kind.Pipe or Kind.EventFd or Kind.Epoll or Kind.SignalFd or Kind.Inotify or Kind.MemFd => true,
            Kind.UnixSocket or Kind.InetSocket or Kind.NetlinkSocket => true,
            _ => false,
        };
    }

    /// <summary>The open files that come into being, and to their numbers, by one call with <paramref name="file"/>: the ends of a pipe, a pair of sockets.</summary>
    private IEnumerable<OpenFile> MadeTogether(OpenFile file) => file.KindCase switch
    {
        Kind.Pipe => _stage.Process.OpenFiles.Where(other => other.KindCase == Kind.Pipe && other.Pipe.Pipe == file.Pipe.Pipe),
        Kind.UnixSocket => _stage.Process.OpenFiles.Where(other => other == file || other.Id == file.UnixSocket.PeerOpenFile),
        _ => [file],
    };

    /// <summary>The kernel gives the lowest free numbers to what a message brings: these have to be free then and not before.</summary>
    private void KeepArrivalNumbers()
    {
        for (var number = 0; number < _externals.Count; number++)
        {
            _stage.Builder.Syscall(SyscallNumber.Dup3, $"number of external {_externals[number].Role}", _stage.ControlDescriptor, number, DescriptorScript.CloseOnExecFlag)
                .ExpectValue(number);
            _script.Table.Preset(number, _script.NewTemporary(), closeOnExec: true);
        }
    }

    private void GiveArrivalNumbersUp()
    {
        if (_externals.Count == 0)
            return;
        _stage.Builder.Syscall(SyscallNumber.CloseRange, "numbers of the externals", 0, _externals.Count - 1, 0);
        for (var number = 0; number < _externals.Count; number++)
            _script.Table.Close(number);
    }
}
