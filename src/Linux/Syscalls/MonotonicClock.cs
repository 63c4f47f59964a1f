// clock_gettime(2) CLOCK_MONOTONIC, CLOCK_BOOTTIME (Linux 2.6.39).
using System.Runtime.InteropServices;

namespace Snapshots.Linux.Syscalls;

/// <summary>The clocks that count from the boot; husks stamp their phases with the first, so that times from several processes can be subtracted.</summary>
public static unsafe partial class MonotonicClock
{
    private const int CLOCK_MONOTONIC = 1;
    private const int CLOCK_BOOTTIME = 7;

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, long* time);

    /// <summary>Nanoseconds of CLOCK_MONOTONIC (through the vDSO: no system call).</summary>
    public static long NowNanoseconds() => Now(CLOCK_MONOTONIC);

    /// <summary>Nanoseconds of CLOCK_BOOTTIME, which also counts while the host is suspended.</summary>
    public static long BoottimeNanoseconds() => Now(CLOCK_BOOTTIME);

    private static long Now(int clock)
    {
        var time = stackalloc long[2];
        _ = clock_gettime(clock, time);
        return (time[0] * 1_000_000_000) + time[1];
    }
}
