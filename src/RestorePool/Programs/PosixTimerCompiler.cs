using System.Buffers.Binary;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>POSIX timers under their frozen ids (timer_create(2); PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15).</summary>
internal static class PosixTimerCompiler
{
    private const int PR_TIMER_CREATE_RESTORE_IDS = 77;
    private const int SigeventBytes = 64;

    public static void Emit(ProgramBuilder builder, IEnumerable<PosixTimer> timers)
    {
        builder.Syscall(SyscallNumber.Prctl, "timers created under given ids", PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0);
        foreach (var timer in timers)
        {
            var subject = $"POSIX timer {timer.Id}";
            builder.Syscall(SyscallNumber.TimerCreate, subject, timer.Clock, Sigevent(builder, timer), builder.Data(BitConverter.GetBytes(timer.Id)));
            if (timer.ValueNs != 0)
                builder.Syscall(SyscallNumber.TimerSettime, subject, timer.Id, 0, Setting(builder, timer), 0);
        }
        builder.Syscall(SyscallNumber.Prctl, "timers created under new ids", PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
    }

    /// <summary>struct sigevent: value 0, signal 8, notify 12, tid 16.</summary>
    private static AddressSpace.VirtualAddress Sigevent(ProgramBuilder builder, PosixTimer timer)
    {
        Span<byte> bytes = stackalloc byte[SigeventBytes];
        bytes.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, timer.SignalValue);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], timer.Signal);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[12..], timer.Notify);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[16..], timer.NotifyTid);
        return builder.Data(bytes);
    }

    /// <summary>struct itimerspec: interval, then value; each seconds and nanoseconds.</summary>
    private static AddressSpace.VirtualAddress Setting(ProgramBuilder builder, PosixTimer timer)
    {
        const ulong NanosecondsPerSecond = 1_000_000_000;
        return builder.Words(
            timer.IntervalNs / NanosecondsPerSecond, timer.IntervalNs % NanosecondsPerSecond,
            timer.ValueNs / NanosecondsPerSecond, timer.ValueNs % NanosecondsPerSecond);
    }
}
