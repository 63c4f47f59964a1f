// proc_pid_stat(5); kernel fs/proc/array.c do_task_stat.
using System.Text;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Proc;

/// <summary>What <c>/proc/PID/stat</c> says of a process or thread. The addresses are zero to a reader without ptrace access.</summary>
public sealed record ProcStat
{
    public required int Pid { get; init; }

    /// <summary>Name of the thread, at most 15 bytes; may contain spaces and parentheses.</summary>
    public required string Name { get; init; }

    /// <summary>R running, S sleeping, D waiting for a device, T stopped, t traced, Z zombie, X dead, I idle.</summary>
    public required char State { get; init; }

    public required int ParentPid { get; init; }

    public required int ProcessGroup { get; init; }

    public required int Session { get; init; }

    /// <summary>User and system time used, clock ticks (1/100 s).</summary>
    public required ulong UserTicks { get; init; }

    public required ulong SystemTicks { get; init; }

    public required int Nice { get; init; }

    public required int ThreadCount { get; init; }

    /// <summary>Clock ticks (1/100 s) after boot at which it started: with the pid it names a process for good.</summary>
    public required ulong StartTimeTicks { get; init; }

    public required VirtualAddress StartCode { get; init; }

    public required VirtualAddress EndCode { get; init; }

    public required VirtualAddress StartStack { get; init; }

    public required VirtualAddress StartData { get; init; }

    public required VirtualAddress EndData { get; init; }

    /// <summary>Where <c>[heap]</c> begins; the current break is not in this file.</summary>
    public required VirtualAddress StartBrk { get; init; }

    public required VirtualAddress ArgStart { get; init; }

    public required VirtualAddress ArgEnd { get; init; }

    public required VirtualAddress EnvStart { get; init; }

    public required VirtualAddress EnvEnd { get; init; }

    public required int ExitSignal { get; init; }

    /// <summary>Of the process, or of its thread <paramref name="tid"/>.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone.</exception>
    public static ProcStat Read(int pid, int? tid = null)
    {
        var text = ProcFile.Read(pid, tid, "stat");
        return TryParse(text, out var stat) ? stat : throw ProcFormat.Unreadable(ProcFile.PathOf(pid, tid, "stat"), text);
    }

    /// <summary>
    /// Parses the one line of the file; field numbers as in the man page:
    /// <code>
    /// 5745 (a (b) c) R 5741 5741 3033 0 -1 4194304 98 0 0 0 7 3 0 0 20 0 1 0 219839 3133440 363 18446744073709551615 94398201319424 …
    /// 1    2         3 4    5    6    7  8 9       10       14 15    18 19 20  22      23     24  25                   26
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out ProcStat stat)
    {
        stat = null!;
        var open = text.IndexOf("("u8);
        var close = text.LastIndexOf(")"u8);
        var head = new TextCursor(text);
        if (open < 0 || close < open || !head.TryInt(out var pid))
            return false;
        var tail = new TextCursor(text[(close + 1)..]);
        if (!tail.TryToken(out var state) || state.Length != 1)
            return false;
        // Fields 4 to 51; signed ones are kept as their bits.
        Span<ulong> fields = stackalloc ulong[52];
        for (var number = 4; number < fields.Length; number++)
        {
            tail.SkipSpaces();
            var negative = tail.TrySkip("-"u8);
            if (!tail.TryDecimal(out var value))
                return false;
            fields[number] = negative ? (ulong)-(long)value : value;
        }
        stat = From(pid, Encoding.UTF8.GetString(text[(open + 1)..close]), (char)state[0], fields);
        return true;
    }

    private static ProcStat From(int pid, string name, char state, ReadOnlySpan<ulong> fields) => new()
    {
        Pid = pid,
        Name = name,
        State = state,
        ParentPid = (int)fields[4],
        ProcessGroup = (int)fields[5],
        Session = (int)fields[6],
        UserTicks = fields[14],
        SystemTicks = fields[15],
        Nice = (int)fields[19],
        ThreadCount = (int)fields[20],
        StartTimeTicks = fields[22],
        StartCode = new VirtualAddress(fields[26]),
        EndCode = new VirtualAddress(fields[27]),
        StartStack = new VirtualAddress(fields[28]),
        ExitSignal = (int)fields[38],
        StartData = new VirtualAddress(fields[45]),
        EndData = new VirtualAddress(fields[46]),
        StartBrk = new VirtualAddress(fields[47]),
        ArgStart = new VirtualAddress(fields[48]),
        ArgEnd = new VirtualAddress(fields[49]),
        EnvStart = new VirtualAddress(fields[50]),
        EnvEnd = new VirtualAddress(fields[51]),
    };
}
