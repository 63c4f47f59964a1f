// proc_pid_status(5); kernel fs/proc/array.c proc_pid_status.
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>What <c>/proc/PID/status</c> says of a process or thread. Lines that a kernel does not write leave the property at its default.</summary>
public sealed record ProcStatus
{
    private ProcStatus()
    {
    }

    /// <summary>Name of the thread; newlines and backslashes were unescaped.</summary>
    public string Name { get; private set; } = "";

    public int Umask { get; private set; }

    public char State { get; private set; } = '?';

    public int ThreadGroupId { get; private set; }

    public int Pid { get; private set; }

    public int ParentPid { get; private set; }

    /// <summary>Pid of the tracer, 0 when there is none.</summary>
    public int TracerPid { get; private set; }

    /// <summary>Real, effective, saved, file system.</summary>
    public IReadOnlyList<uint> Uids { get; private set; } = [];

    /// <summary>Real, effective, saved, file system.</summary>
    public IReadOnlyList<uint> Gids { get; private set; } = [];

    public IReadOnlyList<uint> Groups { get; private set; } = [];

    /// <summary>Process id in each nested PID namespace, the reader's first, the process's own last.</summary>
    public IReadOnlyList<int> NamespaceThreadGroupIds { get; private set; } = [];

    /// <summary>Thread id in each nested PID namespace, the reader's first.</summary>
    public IReadOnlyList<int> NamespacePids { get; private set; } = [];

    public IReadOnlyList<int> NamespaceProcessGroups { get; private set; } = [];

    public IReadOnlyList<int> NamespaceSessions { get; private set; } = [];

    public bool IsKernelThread { get; private set; }

    public ulong VmSizeKib { get; private set; }

    public ulong VmRssKib { get; private set; }

    public ulong VmLockedKib { get; private set; }

    public ulong RssAnonKib { get; private set; }

    public ulong RssFileKib { get; private set; }

    public ulong RssShmemKib { get; private set; }

    public ulong VmSwapKib { get; private set; }

    /// <summary>VmPTE: page tables of all levels.</summary>
    public ulong PageTablesKib { get; private set; }

    public int ThreadCount { get; private set; }

    /// <summary>False when the process turned transparent huge pages off (PR_SET_THP_DISABLE).</summary>
    public bool ThpEnabled { get; private set; } = true;

    /// <summary>Signal sets: bit N-1 is signal N.</summary>
    public ulong PendingOfThread { get; private set; }

    public ulong PendingOfProcess { get; private set; }

    public ulong Blocked { get; private set; }

    public ulong Ignored { get; private set; }

    public ulong Caught { get; private set; }

    /// <summary>Capability sets: bit N is capability N of capabilities(7).</summary>
    public ulong CapInheritable { get; private set; }

    public ulong CapPermitted { get; private set; }

    public ulong CapEffective { get; private set; }

    public ulong CapBounding { get; private set; }

    public ulong CapAmbient { get; private set; }

    public bool NoNewPrivileges { get; private set; }

    /// <summary>0 none, 1 strict, 2 filter.</summary>
    public int SeccompMode { get; private set; }

    public int SeccompFilterCount { get; private set; }

    public string CpusAllowedList { get; private set; } = "";

    /// <summary>Of the process (its main thread), or of its thread <paramref name="tid"/>.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone.</exception>
    public static ProcStatus Read(int pid, int? tid = null)
    {
        var text = ProcFile.Read(pid, tid, "status");
        return TryParse(text, out var status) ? status : throw ProcFormat.Unreadable(ProcFile.PathOf(pid, tid, "status"), text);
    }

    /// <summary>
    /// Parses a whole file of "Name: tab value" lines; unknown names are ignored, malformed values of known ones fail.
    /// <code>
    /// Umask:	0022
    /// Uid:	0	0	0	0
    /// NSpid:	5746	12
    /// SigBlk:	0000000000010000
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out ProcStatus status)
    {
        status = new ProcStatus();
        foreach (var line in new Lines(text))
        {
            var colon = line.IndexOf((byte)':');
            if (colon <= 0)
                continue;
            var cursor = new TextCursor(line[(colon + 1)..]);
            cursor.SkipSpaces();
            if (!status.TryTake(Encoding.ASCII.GetString(line[..colon]), ref cursor))
                return false;
        }
        return status.Pid > 0;
    }

    private bool TryTake(string name, ref TextCursor value)
    {
        switch (name)
        {
            case "Name":
                Name = EscapedName(value.Rest);
                return true;
            case "State":
                State = value.AtEnd ? '?' : (char)value.Rest[0];
                return true;
            case "Umask":
                return Set(value.TryOctal(out var umask), () => Umask = (int)umask);
            case "Cpus_allowed_list":
                CpusAllowedList = Encoding.ASCII.GetString(value.Rest);
                return true;
            case "Uid":
                return TryList(ref value, out var uids) && Set(uids.Count == 4, () => Uids = uids);
            case "Gid":
                return TryList(ref value, out var gids) && Set(gids.Count == 4, () => Gids = gids);
            case "Groups":
                return TryList(ref value, out var groups) && Set(true, () => Groups = groups);
            case "NStgid":
                return TryPids(ref value, out var tgids) && Set(true, () => NamespaceThreadGroupIds = tgids);
            case "NSpid":
                return TryPids(ref value, out var pids) && Set(true, () => NamespacePids = pids);
            case "NSpgid":
                return TryPids(ref value, out var pgids) && Set(true, () => NamespaceProcessGroups = pgids);
            case "NSsid":
                return TryPids(ref value, out var sids) && Set(true, () => NamespaceSessions = sids);
            default:
                return TryTakeMask(name, ref value) ?? TryTakeNumber(name, ref value);
        }
    }

    private bool? TryTakeMask(string name, ref TextCursor value)
    {
        Action<ulong>? take = name switch
        {
            "SigPnd" => mask => PendingOfThread = mask,
            "ShdPnd" => mask => PendingOfProcess = mask,
            "SigBlk" => mask => Blocked = mask,
            "SigIgn" => mask => Ignored = mask,
            "SigCgt" => mask => Caught = mask,
            "CapInh" => mask => CapInheritable = mask,
            "CapPrm" => mask => CapPermitted = mask,
            "CapEff" => mask => CapEffective = mask,
            "CapBnd" => mask => CapBounding = mask,
            "CapAmb" => mask => CapAmbient = mask,
            _ => null,
        };
        return take is null ? null : Set(value.TryHex(out var parsed), () => take(parsed));
    }

    private bool TryTakeNumber(string name, ref TextCursor value)
    {
        Action<ulong>? take = name switch
        {
            "Tgid" => number => ThreadGroupId = (int)number,
            "Pid" => number => Pid = (int)number,
            "PPid" => number => ParentPid = (int)number,
            "TracerPid" => number => TracerPid = (int)number,
            "Kthread" => number => IsKernelThread = number != 0,
            "Threads" => number => ThreadCount = (int)number,
            "THP_enabled" => number => ThpEnabled = number != 0,
            "NoNewPrivs" => number => NoNewPrivileges = number != 0,
            "Seccomp" => number => SeccompMode = (int)number,
            "Seccomp_filters" => number => SeccompFilterCount = (int)number,
            "VmSize" => kib => VmSizeKib = kib,
            "VmRSS" => kib => VmRssKib = kib,
            "VmLck" => kib => VmLockedKib = kib,
            "RssAnon" => kib => RssAnonKib = kib,
            "RssFile" => kib => RssFileKib = kib,
            "RssShmem" => kib => RssShmemKib = kib,
            "VmSwap" => kib => VmSwapKib = kib,
            "VmPTE" => kib => PageTablesKib = kib,
            _ => null,
        };
        return take is null || Set(value.TryDecimal(out var parsed), () => take(parsed));
    }

    private static bool Set(bool parsed, Action take)
    {
        if (parsed)
            take();
        return parsed;
    }

    private static bool TryList(ref TextCursor value, out List<uint> numbers)
    {
        numbers = [];
        for (value.SkipSpaces(); !value.AtEnd; value.SkipSpaces())
        {
            if (!value.TryDecimal(out var number) || number > uint.MaxValue)
                return false;
            numbers.Add((uint)number);
        }
        return true;
    }

    private static bool TryPids(ref TextCursor value, out List<int> pids)
    {
        var parsed = TryList(ref value, out var numbers);
        pids = numbers.ConvertAll(number => (int)number);
        return parsed;
    }

    // The kernel writes a newline in a name as \n and a backslash as two.
    private static string EscapedName(ReadOnlySpan<byte> text)
    {
        var name = Encoding.UTF8.GetString(text);
        return name.Contains('\\') ? name.Replace("\\n", "\n", StringComparison.Ordinal).Replace("\\\\", "\\", StringComparison.Ordinal) : name;
    }
}
