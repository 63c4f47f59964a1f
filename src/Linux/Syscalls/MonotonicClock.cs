// clock_gettime(2) CLOCK_MONOTONIC.
using System.Runtime.InteropServices;

namespace Snapshots.Linux.Syscalls;

/// <summary>The clock that husks stamp their phases with, so that times from several processes can be subtracted.</summary>
public static unsafe partial class MonotonicClock
{
    private const int CLOCK_MONOTONIC = 1;

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, long* time);

    /// <summary>Nanoseconds of CLOCK_MONOTONIC (through the vDSO: no system call).</summary>
    public static long NowNanoseconds()
    {
        var time = stackalloc long[2];
        _ = clock_gettime(CLOCK_MONOTONIC, time);
        return (time[0] * 1_000_000_000) + time[1];
    }
}
