// sched_getattr(2) (uapi linux/sched/types.h; since 3.14) and sched_getaffinity(2) (since 2.5.8).
using System.Runtime.InteropServices;

namespace Snapshots.Linux.Syscalls;

/// <summary>How the kernel schedules a thread.</summary>
/// <param name="Policy">SCHED_OTHER 0, SCHED_FIFO 1, SCHED_RR 2, SCHED_BATCH 3, SCHED_IDLE 5, SCHED_DEADLINE 6.</param>
/// <param name="Nice">-20 to 19.</param>
/// <param name="Priority">Of real-time policies; else 0.</param>
public readonly record struct SchedulerAttributes(uint Policy, int Nice, uint Priority);

/// <summary>Scheduling of other processes' threads, read only.</summary>
public static unsafe class Scheduler
{
    /// <summary>Bytes of the CPU masks that are asked for: 8192 CPUs, the most that x86-64 kernels are built for.</summary>
    private const int LargestMaskBytes = 1024;

    /// <exception cref="LinuxException">The thread is gone.</exception>
    public static SchedulerAttributes GetAttributes(int tid)
    {
        SchedAttr attributes;
        RawSyscall.ThrowIfFailed(
            RawSyscall.Call(SyscallNumber.SchedGetattr, tid, (long)&attributes, sizeof(SchedAttr), 0),
            "sched_getattr",
            $"thread {tid}");
        return new SchedulerAttributes(attributes.Policy, attributes.Nice, attributes.Priority);
    }

    /// <summary>The CPUs a thread may run on, bit n of byte n/8, as long as this kernel's mask.</summary>
    /// <param name="tid">0 is the calling thread.</param>
    /// <exception cref="LinuxException">The thread is gone.</exception>
    public static byte[] GetAffinity(int tid)
    {
        var mask = stackalloc byte[LargestMaskBytes];
        var length = RawSyscall.ThrowIfFailed(
            RawSyscall.Call(SyscallNumber.SchedGetaffinity, tid, LargestMaskBytes, (long)mask),
            "sched_getaffinity",
            $"thread {tid}");
        return new ReadOnlySpan<byte>(mask, (int)length).ToArray();
    }

    /// <summary>struct sched_attr, the version of 48 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 48)]
    private struct SchedAttr
    {
        [FieldOffset(0)]
        public uint Size;

        [FieldOffset(4)]
        public uint Policy;

        [FieldOffset(8)]
        public ulong Flags;

        [FieldOffset(16)]
        public int Nice;

        [FieldOffset(20)]
        public uint Priority;
    }
}
