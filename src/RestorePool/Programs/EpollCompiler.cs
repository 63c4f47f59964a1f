using System.Buffers.Binary;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// epoll(7) instances. They are created in their turn; interests follow when everything they can watch exists, nested instances included.
/// The kernel keys an interest by open file and number, so each is registered while its file is open at the number of old.
/// </summary>
internal static class EpollCompiler
{
    private const int ControlAdd = 1;

    /// <summary>struct epoll_event is packed on x86-64: u32 events, u64 data.</summary>
    private const int EventSizeBytes = 12;

    public static void Create(DescriptorScript script, OpenFile file)
    {
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        script.Created(script.Builder.Syscall(SyscallNumber.EpollCreate1, script.SubjectOf(file), script.NextFlag(file.Id)), file.Id, closeOnExec);
    }

    public static void CompileInterests(DescriptorScript script, ProcessImage process)
    {
        foreach (var epoll in process.OpenFiles.Where(file => file.KindCase == OpenFile.KindOneofCase.Epoll))
        {
            foreach (var interest in epoll.Epoll.Interests)
                Register(script, epoll, interest);
        }
    }

    private static void Register(DescriptorScript script, OpenFile epoll, EpollInterest interest)
    {
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
