using System.Buffers.Binary;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>eventfd(2), timerfd_create(2) and signalfd(2): objects whose whole state is a few words.</summary>
internal static class TimerAndEventCompiler
{
    private const uint EventFdSemaphore = 1;
    private const ulong NanosecondsPerSecond = 1_000_000_000;

    /// <summary>TFD_IOC_SET_TICKS of uapi <c>linux/timerfd.h</c>; needs CONFIG_CHECKPOINT_RESTORE.</summary>
    private const uint SetTicks = 0x4008_5400;

    public static void CreateEventFd(DescriptorScript script, OpenFile file)
    {
        var counter = file.EventFd.Counter;
        var initial = counter <= uint.MaxValue ? (uint)counter : 0;
        var flags = (file.StatusFlags & OpenFlags.NonBlocking) | (file.EventFd.Semaphore ? EventFdSemaphore : 0) | script.NextFlag(file.Id);
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        var fd = script.Created(script.Builder.Syscall(SyscallNumber.Eventfd2, script.SubjectOf(file), initial, flags), file.Id, closeOnExec);
        // eventfd2 takes 32 bits of the counter; a larger one is added by a write.
        if (initial != counter)
            script.Builder.Syscall(SyscallNumber.Write, script.SubjectOf(file), fd, script.Builder.Word(counter), 8).ExpectValue(8);
    }

    /// <summary>The remaining time runs on from where it was: time in which the image lay on disk does not count.</summary>
    public static void CreateTimerFd(DescriptorScript script, OpenFile file)
    {
        var timer = file.TimerFd;
        var subject = script.SubjectOf(file);
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        var flags = (file.StatusFlags & OpenFlags.NonBlocking) | script.NextFlag(file.Id);
        var fd = script.Created(script.Builder.Syscall(SyscallNumber.TimerfdCreate, subject, timer.Clock, flags), file.Id, closeOnExec);
        if (timer.ValueNs != 0)
            script.Builder.Syscall(SyscallNumber.TimerfdSettime, subject, fd, 0, script.Builder.Words(
                timer.IntervalNs / NanosecondsPerSecond, timer.IntervalNs % NanosecondsPerSecond,
                timer.ValueNs / NanosecondsPerSecond, timer.ValueNs % NanosecondsPerSecond), 0);
        if (timer.Ticks != 0)
            script.Builder.Syscall(SyscallNumber.Ioctl, subject, fd, SetTicks, script.Builder.Word(timer.Ticks));
    }

    public static void CreateSignalFd(DescriptorScript script, OpenFile file)
    {
        Span<byte> mask = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(mask, file.SignalFd.Mask);
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        var flags = (file.StatusFlags & OpenFlags.NonBlocking) | script.NextFlag(file.Id);
        script.Created(script.Builder.Syscall(SyscallNumber.Signalfd4, script.SubjectOf(file), -1, script.Builder.Data(mask), mask.Length, flags), file.Id, closeOnExec);
    }
}
