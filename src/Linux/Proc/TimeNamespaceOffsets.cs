// /proc/PID/timens_offsets, time_namespaces(7); Linux 5.6, CONFIG_TIME_NS.
using System.Globalization;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Linux.Proc;

/// <summary>How far the clocks of a time namespace are ahead of the host's, in nanoseconds; negative when they are behind.</summary>
public readonly record struct TimeNamespaceOffsets(long MonotonicNanoseconds, long BoottimeNanoseconds)
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>A process with several threads cannot change its time namespace, so ours stays what it is.</summary>
    private static readonly Lazy<TimeNamespaceOffsets> s_own = new(() => Of(Environment.ProcessId));

    /// <summary>Those of this process, read once.</summary>
    public static TimeNamespaceOffsets Own => s_own.Value;

    /// <summary>The offsets of the namespace that the children of <paramref name="pid"/> are born in, usually its own; none on a kernel without time namespaces.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone.</exception>
    public static TimeNamespaceOffsets Of(int pid)
    {
        var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/timens_offsets");
        var errno = ProcFile.TryRead(path, out var text);
        if (errno == Errno.ENOENT)
            return default;
        if (errno != Errno.None)
            throw new LinuxException("read", errno, path);
        return TryParse(text, out var offsets) ? offsets : throw new InvalidDataException($"{path}: cannot be understood");
    }

    /// <summary>The host's clocks now, whatever time namespace we are in ourselves.</summary>
    public static (long MonotonicNanoseconds, long BoottimeNanoseconds) HostClocks() =>
        (MonotonicClock.NowNanoseconds() - Own.MonotonicNanoseconds, MonotonicClock.BoottimeNanoseconds() - Own.BoottimeNanoseconds);

    // monotonic        1000         0
    // boottime           -5 700000000
    // (1)               (2)       (3)     clock, seconds, nanoseconds (never negative)
    public static bool TryParse(ReadOnlySpan<byte> text, out TimeNamespaceOffsets offsets)
    {
        offsets = default;
        long? monotonic = null;
        long? boottime = null;
        foreach (var line in new Lines(text))
        {
            var cursor = new TextCursor(line);
            var isMonotonic = cursor.TrySkip("monotonic"u8);
            if (!isMonotonic && !cursor.TrySkip("boottime"u8))
                continue;
            cursor.SkipSpaces();
            var negative = cursor.TrySkip("-"u8);
            if (!cursor.TryDecimal(out var seconds) || seconds > long.MaxValue / NanosecondsPerSecond)
                return false;
            cursor.SkipSpaces();
            if (!cursor.TryDecimal(out var nanoseconds) || nanoseconds >= NanosecondsPerSecond)
                return false;
            var offset = ((negative ? -(long)seconds : (long)seconds) * NanosecondsPerSecond) + (long)nanoseconds;
            if (isMonotonic)
                monotonic = offset;
            else
                boottime = offset;
        }
        offsets = new TimeNamespaceOffsets(monotonic ?? 0, boottime ?? 0);
        return monotonic is not null && boottime is not null;
    }

    /// <summary>As the file takes it.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"monotonic {Seconds(MonotonicNanoseconds)} {Rest(MonotonicNanoseconds)}\nboottime {Seconds(BoottimeNanoseconds)} {Rest(BoottimeNanoseconds)}\n");

    private static long Seconds(long nanoseconds) => (nanoseconds - Rest(nanoseconds)) / NanosecondsPerSecond;

    private static long Rest(long nanoseconds) => ((nanoseconds % NanosecondsPerSecond) + NanosecondsPerSecond) % NanosecondsPerSecond;
}
