// prlimit(2); uapi linux/resource.h, asm-generic/resource.h; Linux 2.6.36.
using System.Runtime.InteropServices;

namespace Snapshots.Linux.Syscalls;

/// <summary>RLIMIT_* of getrlimit(2).</summary>
public enum ResourceKind
{
    Cpu = 0,
    FileSize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Processes = 6,
    OpenFiles = 7,
    LockedMemory = 8,
    AddressSpace = 9,
    Locks = 10,
    PendingSignals = 11,
    MessageQueues = 12,
    Nice = 13,
    RealTimePriority = 14,
    RealTimeTime = 15,
}

/// <summary>struct rlimit64: soft and hard limit; <see cref="Infinity"/> is none.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public readonly record struct ResourceLimits
{
    public const ulong Infinity = ulong.MaxValue;

    [FieldOffset(0)] private readonly ulong _soft;
    [FieldOffset(8)] private readonly ulong _hard;

    public ResourceLimits(ulong soft, ulong hard)
    {
        _soft = soft;
        _hard = hard;
    }

    public ulong Soft => _soft;

    public ulong Hard => _hard;
}

/// <summary>Resource limits of any process.</summary>
public static unsafe class Prlimit
{
    private static readonly string[] s_names =
    [
        "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
    ];

    /// <summary>The kernel's name, e.g. RLIMIT_NOFILE.</summary>
    public static string NameOf(ResourceKind resource) =>
        (int)resource < s_names.Length ? s_names[(int)resource] : $"resource limit {(int)resource}";

    /// <summary>Limits of <paramref name="pid"/>; 0 is ourselves.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone; EPERM: other credentials and no CAP_SYS_RESOURCE.</exception>
    public static ResourceLimits Get(int pid, ResourceKind resource)
    {
        ResourceLimits limits;
        RawSyscall.ThrowIfFailed(
            RawSyscall.Call(SyscallNumber.Prlimit64, pid, (long)resource, 0, (long)&limits), "prlimit64", $"{resource} limit of process {pid}");
        return limits;
    }

    /// <summary>Sets both limits; raising a hard limit needs CAP_SYS_RESOURCE (EPERM).</summary>
    public static Errno Set(int pid, ResourceKind resource, ResourceLimits limits) =>
        RawSyscall.ErrnoOf(RawSyscall.Call(SyscallNumber.Prlimit64, pid, (long)resource, (long)&limits));
}
