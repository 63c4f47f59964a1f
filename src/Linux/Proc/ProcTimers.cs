// proc_pid_timers(5); Linux 3.10, CONFIG_POSIX_TIMERS and CONFIG_CHECKPOINT_RESTORE.
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>A timer_create(2) timer of a process. What remains of it only timer_gettime(2) in the process itself tells.</summary>
/// <param name="Id">The kernel's timer id.</param>
/// <param name="Signal">sigev_signo.</param>
/// <param name="SignalValue">sigev_value as bits.</param>
/// <param name="Notify">SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2, or with SIGEV_THREAD_ID 4 added.</param>
/// <param name="Target">The thread (with SIGEV_THREAD_ID) or process that is told, in the PID namespace in which the file was opened.</param>
/// <param name="Clock">clockid_t.</param>
public sealed record ProcTimer(int Id, int Signal, ulong SignalValue, int Notify, int Target, int Clock);

/// <summary>Reads <c>/proc/PID/timers</c>.</summary>
public static class ProcTimers
{
    private const int ThreadIdBit = 4;

    /// <exception cref="LinuxException">ESRCH: the process is gone; ENOENT: the kernel was built without CONFIG_CHECKPOINT_RESTORE.</exception>
    public static List<ProcTimer> Read(int pid)
    {
        var text = ProcFile.Read(pid, null, "timers");
        return TryParse(text, out var timers) ? timers : throw ProcFormat.Unreadable($"/proc/{pid}/timers", text);
    }

    /// <summary>
    /// Parses a whole file of four-line records:
    /// <code>
    /// ID: 1
    /// signal: 60/00007fff86e452a8
    /// notify: signal/tid.2634
    /// ClockID: 0
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out List<ProcTimer> timers)
    {
        timers = [];
        var timer = default(ProcTimer);
        foreach (var line in new Lines(text))
        {
            var cursor = new TextCursor(line);
            if (cursor.TrySkip("ID: "u8))
            {
                if (!cursor.TryInt(out var id))
                    return false;
                timer = new ProcTimer(id, 0, 0, 0, 0, 0);
                timers.Add(timer);
                continue;
            }
            if (timer is null || !TryTake(ref cursor, ref timer))
                return false;
            timers[^1] = timer;
        }
        return true;
    }

    private static bool TryTake(ref TextCursor line, ref ProcTimer timer)
    {
        if (line.TrySkip("signal: "u8))
        {
            if (!line.TryInt(out var signal) || !line.TrySkip("/"u8))
                return false;
            // %px prints 16 digits; a reader who may not see addresses gets "(null)" or a hash, neither of which is the value.
            line.TrySkip("0x"u8);
            if (!line.TryHex(out var value))
                return false;
            timer = timer with { Signal = signal, SignalValue = value };
            return true;
        }
        if (line.TrySkip("notify: "u8))
            return TryTakeNotify(line.Rest, ref timer);
        if (line.TrySkip("ClockID: "u8))
        {
            if (!line.TryInt(out var clock))
                return false;
            timer = timer with { Clock = clock };
        }
        return true;
    }

    // signal/pid.2634, none/tid.2635, thread/pid.2634
    private static bool TryTakeNotify(ReadOnlySpan<byte> text, ref ProcTimer timer)
    {
        var slash = text.IndexOf((byte)'/');
        if (slash < 0)
            return false;
        int notify;
        switch (Encoding.ASCII.GetString(text[..slash]))
        {
            case "signal":
                notify = 0;
                break;
            case "none":
                notify = 1;
                break;
            case "thread":
                notify = 2;
                break;
            default:
                return false;
        }
        var cursor = new TextCursor(text[(slash + 1)..]);
        if (cursor.TrySkip("tid."u8))
            notify |= ThreadIdBit;
        else if (!cursor.TrySkip("pid."u8))
            return false;
        if (!cursor.TryInt(out var target))
            return false;
        timer = timer with { Notify = notify, Target = target };
        return true;
    }
}
