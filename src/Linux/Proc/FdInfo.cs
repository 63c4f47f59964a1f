// proc_pid_fdinfo(5); kernel fs/proc/fd.c and the show_fdinfo of each file type.
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>What <c>/proc/PID/fdinfo/FD</c> says of a descriptor and the open file behind it.</summary>
public sealed record FdInfo
{
    private const uint O_CLOEXEC = 0x80000;
    private readonly List<EpollTarget> _epollTargets = [];
    private readonly List<InotifyMark> _inotifyMarks = [];
    private readonly List<string> _locks = [];

    private FdInfo()
    {
    }

    /// <summary>File offset, bytes.</summary>
    public long Position { get; private set; }

    /// <summary>Access mode and status flags of open(2), without O_CLOEXEC.</summary>
    public uint StatusFlags { get; private set; }

    /// <summary>FD_CLOEXEC of the descriptor.</summary>
    public bool CloseOnExec { get; private set; }

    public int MountId { get; private set; }

    public ulong Inode { get; private set; }

    /// <summary>Set for an eventfd.</summary>
    public EventFdInfo? EventFd { get; private set; }

    /// <summary>What an epoll descriptor watches; empty for others and for an epoll without interests.</summary>
    public IReadOnlyList<EpollTarget> EpollTargets => _epollTargets;

    /// <summary>Set for a timerfd.</summary>
    public TimerFdInfo? TimerFd { get; private set; }

    /// <summary>Set for a signalfd: bit N-1 is signal N.</summary>
    public ulong? SignalMask { get; private set; }

    public IReadOnlyList<InotifyMark> InotifyMarks => _inotifyMarks;

    /// <summary>Set for a pidfd: the process in the reader's PID namespace, -1 when it ended, 0 when it is outside.</summary>
    public int? PidfdPid { get; private set; }

    /// <summary>Lines of the locks held through this open file, as /proc/locks prints them behind "lock:".</summary>
    public IReadOnlyList<string> Locks => _locks;

    /// <summary>Descriptors under way in the receive queue of a unix socket; null for others and before Linux 5.10.</summary>
    public int? DescriptorsInQueue { get; private set; }

    /// <exception cref="LinuxException">ESRCH: the process is gone; ENOENT: it has no such descriptor.</exception>
    public static FdInfo Read(int pid, int fd)
    {
        var text = ProcFile.Read(pid, null, $"fdinfo/{fd}");
        return TryParse(text, out var info) ? info : throw ProcFormat.Unreadable($"/proc/{pid}/fdinfo/{fd}", text);
    }

    /// <summary>
    /// Parses a whole file. Unknown lines are ignored.
    /// <code>
    /// pos:	0
    /// flags:	02004002
    /// mnt_id:	15
    /// ino:	1058
    /// eventfd-count:               5a
    /// tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:7
    /// inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out FdInfo info)
    {
        info = new FdInfo();
        var sawFlags = false;
        foreach (var line in new Lines(text))
        {
            var colon = line.IndexOf((byte)':');
            if (colon <= 0)
                continue;
            sawFlags |= line.StartsWith("flags:"u8);
            if (line.StartsWith("inotify "u8) ? !info.TryTakeInotify(line) : !info.TryTake(Encoding.ASCII.GetString(line[..colon]), line, line[(colon + 1)..]))
                return false;
        }
        return sawFlags;
    }

    private bool TryTake(string name, ReadOnlySpan<byte> line, ReadOnlySpan<byte> rest)
    {
        var value = new TextCursor(rest);
        value.SkipSpaces();
        ulong number;
        switch (name)
        {
            case "pos":
                var negative = value.TrySkip("-"u8);
                if (!value.TryDecimal(out number))
                    return false;
                Position = negative ? -(long)number : (long)number;
                return true;
            case "flags":
                if (!value.TryOctal(out number))
                    return false;
                StatusFlags = (uint)number & ~O_CLOEXEC;
                CloseOnExec = ((uint)number & O_CLOEXEC) != 0;
                return true;
            case "mnt_id":
                var known = value.TryInt(out var mount);
                MountId = mount;
                return known;
            case "ino":
                known = value.TryDecimal(out number);
                Inode = number;
                return known;
            case "lock":
                _locks.Add(Encoding.ASCII.GetString(value.Rest));
                return true;
            case "tfd":
                return TryTakeEpoll(line);
            case "Pid":
                known = value.TryInt(out var pid);
                PidfdPid = pid;
                return known;
            case "scm_fds":
                known = value.TryInt(out var count);
                DescriptorsInQueue = count;
                return known;
            case "sigmask":
                known = value.TryHex(out number);
                SignalMask = number;
                return known;
            default:
                return TryTakeEventFd(name, ref value) && TryTakeTimerFd(name, ref value);
        }
    }

    // eventfd-count:               5a        (hexadecimal)
    // eventfd-id: 3
    // eventfd-semaphore: 1
    private bool TryTakeEventFd(string name, ref TextCursor value)
    {
        if (!name.StartsWith("eventfd-", StringComparison.Ordinal))
            return true;
        EventFd ??= new EventFdInfo(0, false);
        if (name == "eventfd-count")
        {
            if (!value.TryHex(out var count))
                return false;
            EventFd = EventFd with { Counter = count };
        }
        else if (name == "eventfd-semaphore")
        {
            EventFd = EventFd with { Semaphore = value.TrySkip("1"u8) };
        }
        return true;
    }

    // clockid: 0
    // ticks: 0
    // settime flags: 01                      (octal)
    // it_value: (0, 49406829)                (seconds, nanoseconds; remaining)
    // it_interval: (1, 0)
    private bool TryTakeTimerFd(string name, ref TextCursor value)
    {
        var timer = TimerFd ?? new TimerFdInfo();
        switch (name)
        {
            case "clockid" when value.TryInt(out var clock):
                TimerFd = timer with { Clock = clock };
                return true;
            case "ticks" when value.TryDecimal(out var ticks):
                TimerFd = timer with { Ticks = ticks };
                return true;
            case "settime flags" when value.TryOctal(out var flags):
                TimerFd = timer with { SettimeFlags = (uint)flags };
                return true;
            case "it_value" when TryTime(ref value, out var remaining):
                TimerFd = timer with { ValueNanoseconds = remaining };
                return true;
            case "it_interval" when TryTime(ref value, out var interval):
                TimerFd = timer with { IntervalNanoseconds = interval };
                return true;
            case "clockid" or "ticks" or "settime flags" or "it_value" or "it_interval":
                return false;
            default:
                return true;
        }
    }

    private static bool TryTime(ref TextCursor value, out ulong nanoseconds)
    {
        nanoseconds = 0;
        if (!value.TrySkip("("u8) || !value.TryDecimal(out var seconds) || !value.TrySkip(", "u8) || !value.TryDecimal(out var rest)
            || rest >= 1_000_000_000 || seconds > ulong.MaxValue / 1_000_000_000 - 1)
            return false;
        nanoseconds = (seconds * 1_000_000_000) + rest;
        return true;
    }

    // tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:7
    private bool TryTakeEpoll(ReadOnlySpan<byte> line)
    {
        var fields = new LabelledFields(line);
        if (!fields.TryDecimal("tfd:"u8, out var fd) || !fields.TryHex("events:"u8, out var events) || !fields.TryHex("data:"u8, out var data))
            return false;
        // pos, ino and sdev are missing before Linux 4.14; the first two alone do not tell one file from another.
        fields.TryHex("ino:"u8, out var inode);
        fields.TryHex("sdev:"u8, out var device);
        _epollTargets.Add(new EpollTarget((int)fd, (uint)events, data, inode, DeviceNumber.FromKernel(device)));
        return true;
    }

    // inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d
    private bool TryTakeInotify(ReadOnlySpan<byte> line)
    {
        var fields = new LabelledFields(line);
        if (!fields.TryHex("wd:"u8, out var watch) || !fields.TryHex("ino:"u8, out var inode)
            || !fields.TryHex("sdev:"u8, out var device) || !fields.TryHex("mask:"u8, out var mask))
            return false;
        fields.TryHex("fhandle-type:"u8, out var handleType);
        byte[] handle = [];
        if (fields.TryToken("f_handle:"u8, out var hex))
        {
            if (hex.Length % 2 != 0 || hex.ContainsAnyExcept("0123456789abcdef"u8))
                return false;
            handle = Convert.FromHexString(Encoding.ASCII.GetString(hex));
        }
        _inotifyMarks.Add(new InotifyMark((int)watch, inode, DeviceNumber.FromKernel(device), (uint)mask, (int)handleType, handle));
        return true;
    }
}

/// <summary>Counter and mode of an eventfd(2).</summary>
public sealed record EventFdInfo(ulong Counter, bool Semaphore);

/// <summary>State of a timerfd_create(2) descriptor. <see cref="ValueNanoseconds"/> is what remains until it fires; 0 is disarmed.</summary>
public sealed record TimerFdInfo
{
    public int Clock { get; init; }

    /// <summary>Expirations not yet read.</summary>
    public ulong Ticks { get; init; }

    public uint SettimeFlags { get; init; }

    public ulong ValueNanoseconds { get; init; }

    public ulong IntervalNanoseconds { get; init; }
}

/// <summary>One interest of an epoll(7): descriptor number at the time it was added, EPOLL* events, user data, and the file it watches.</summary>
public sealed record EpollTarget(int Fd, uint Events, ulong Data, ulong Inode, ulong Device);

/// <summary>One watch of an inotify(7), with the file handle that open_by_handle_at(2) takes.</summary>
public sealed record InotifyMark(int WatchDescriptor, ulong Inode, ulong Device, uint Mask, int HandleType, byte[] Handle);
