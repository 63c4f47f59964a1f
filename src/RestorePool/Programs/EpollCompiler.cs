using System.Buffers.Binary;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// epoll(7) instances. They are created in their turn; interests follow when everything they can watch exists, nested instances included.
/// The kernel keys an interest by open file and number, so each is registered while its file is open at the number of old.
/// </summary>
internal sealed class EpollCompiler(DescriptorScript script, ProcessImage process)
{
    private const int ControlAdd = 1;

    /// <summary>struct epoll_event is packed on x86-64: u32 events, u64 data.</summary>
    private const int EventSizeBytes = 12;

    private readonly HashSet<EpollInterest> _registered = new(ReferenceEqualityComparer.Instance);

    public static void Create(DescriptorScript script, OpenFile file)
    {
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        script.Created(script.Builder.Syscall(SyscallNumber.EpollCreate1, script.SubjectOf(file), script.NextFlag(file.Id)), file.Id, closeOnExec);
    }

    /// <summary>Registers the interests whose file is open already at the number of old, so that nothing has to be moved for them.</summary>
    public void CompileInterestsInPlace()
    {
        foreach (var (epoll, interest) in Interests().Where(pair => script.IsCreated(pair.Epoll.Id) && script.Table.FileAt((int)pair.Interest.Fd) == pair.Interest.OpenFile))
            Register(epoll, interest);
    }

    /// <summary>Registers every other interest; all open files exist.</summary>
    public void CompileInterests()
    {
        foreach (var (epoll, interest) in Interests())
            Register(epoll, interest);
    }

    private List<(OpenFile Epoll, EpollInterest Interest)> Interests() =>
        [.. process.OpenFiles
            .Where(file => file.KindCase == OpenFile.KindOneofCase.Epoll)
            .SelectMany(file => file.Epoll.Interests.Select(interest => (file, interest)))
            .Where(pair => !_registered.Contains(pair.interest))];

    private void Register(OpenFile epoll, EpollInterest interest)
    {
        _registered.Add(interest);
        var subject = $"{script.SubjectOf(epoll)}, its interest in fd {interest.Fd}";
        Span<byte> data = stackalloc byte[EventSizeBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(data, interest.Events);
        BinaryPrimitives.WriteUInt64LittleEndian(data[4..], interest.Data);
        var epollEvent = script.Builder.Data(data);
        // The number is asked for inside: making room for the watched file may move the instance itself.
        script.WithFileAt(interest.OpenFile, (int)interest.Fd, subject, () =>
            script.Builder.Syscall(SyscallNumber.EpollCtl, subject, script.NumberOf(epoll.Id), ControlAdd, interest.Fd, epollEvent));
    }
}
