using System.Buffers.Binary;
using System.Globalization;
using Google.Protobuf;
using Snapshots.ImageFacts;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Captures the attributes of a stopped process that belong to neither a thread, a mapping nor a descriptor.</summary>
internal sealed class ProcessCapture(CaptureContext context, StoppedProcess process)
{
    private const ulong PR_GET_DUMPABLE = 3;
    private const ulong PR_GET_SECUREBITS = 27;
    private const ulong PR_GET_CHILD_SUBREAPER = 37;
    private const ulong PR_GET_THP_DISABLE = 42;
    private const ulong MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9;
    private const int SignalSetBytes = 8;
    private const int SigactionBytes = 32;
    private const int NodeNameOffset = 65;
    private const int NodeNameBytes = 65;
    private const ulong NanosecondsPerSecond = 1_000_000_000;

    private readonly ProcessImage _image = context.Image;

    /// <summary>Everything that can be learnt from outside.</summary>
    public void Capture()
    {
        var status = ProcStatus.Read(process.Pid);
        var stat = ProcStat.Read(process.Pid);
        _image.Pid = (uint)status.NamespacePids[^1];
        _image.SessionId = (uint)status.NamespaceSessions[^1];
        _image.ProcessGroupId = (uint)status.NamespaceProcessGroups[^1];
        _image.Name = status.Name;
        _image.Umask = (uint)status.Umask;
        _image.NoNewPrivileges = status.NoNewPrivileges;
        _image.Credentials = CredentialsOf.Process(status);
        _image.Layout = LayoutOf(stat);
        _image.Personality = ulong.Parse(ReadText("personality"), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        _image.CoredumpFilter = uint.Parse(ReadText("coredump_filter"), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        _image.OomScoreAdj = int.Parse(ReadText("oom_score_adj"), CultureInfo.InvariantCulture);
        foreach (var resource in Enum.GetValues<ResourceKind>())
        {
            var limits = Prlimit.Get(process.Pid, resource);
            _image.Limits.Add(new ResourceLimit { Resource = (uint)resource, Soft = limits.Soft, Hard = limits.Hard });
        }

        CaptureDirectories();
        CaptureExecutable();
    }

    /// <summary>What only the process itself can ask the kernel.</summary>
    public void CaptureRemote(RemoteSyscalls remote)
    {
        var main = process.MainThread;
        _image.Layout.Brk = remote.Require(main, SyscallNumber.Brk, 0);
        _image.Dumpable = (uint)remote.Require(main, SyscallNumber.Prctl, PR_GET_DUMPABLE);
        _image.ThpDisabled = remote.Require(main, SyscallNumber.Prctl, PR_GET_THP_DISABLE) != 0;
        _image.ChildSubreaper = AskWord(remote, PR_GET_CHILD_SUBREAPER) != 0;
        _image.Credentials.Securebits = (uint)remote.Require(main, SyscallNumber.Prctl, PR_GET_SECUREBITS);
        // Kernels before 6.3 cannot tell (EINVAL): restoring no registration would abort .NET later, so say it now.
        var membarrier = remote.Call(main, SyscallNumber.Membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0);
        if (membarrier < 0)
            context.Refuse("membarrier registrations", "this kernel cannot list them", "Run on Linux 6.3 or newer.");
        else
            _image.MembarrierRegistrations = (ulong)membarrier;
        _image.Hostname = AskHostname(remote);
        CaptureSignalActions(remote);
        CaptureIntervalTimers(remote);
        CapturePosixTimers(remote);
    }

    private AddressSpaceLayout LayoutOf(ProcStat stat) => new()
    {
        StartCode = stat.StartCode.Value,
        EndCode = stat.EndCode.Value,
        StartData = stat.StartData.Value,
        EndData = stat.EndData.Value,
        StartBrk = stat.StartBrk.Value,
        StartStack = stat.StartStack.Value,
        ArgStart = stat.ArgStart.Value,
        ArgEnd = stat.ArgEnd.Value,
        EnvStart = stat.EnvStart.Value,
        EnvEnd = stat.EnvEnd.Value,
        Auxv = ByteString.CopyFrom(ProcFile.Read($"/proc/{process.Pid}/auxv")),
    };

    private void CaptureDirectories()
    {
        _image.WorkingDirectory = LinkOf("cwd");
        _image.RootDirectory = LinkOf("root");
        if (_image.RootDirectory != "/")
            context.Refuse("root directory", $"it is {_image.RootDirectory}, not /", "Run the worker without chroot(2).");
        else if (!IsSameObject($"/proc/{process.Pid}/cwd", $"/proc/{process.Pid}/root{_image.WorkingDirectory}"))
            context.Refuse("working directory", $"{_image.WorkingDirectory} is gone or another directory has taken its path", "Change to a directory that stays, e.g. /, before the worker is ready.");
    }

    private void CaptureExecutable()
    {
        var path = LinkOf("exe");
        var errno = FileStatus.At($"/proc/{process.Pid}/exe", followLast: true, out var status);
        if (errno != Errno.None || !IsSameObject($"/proc/{process.Pid}/exe", $"/proc/{process.Pid}/root{path}"))
        {
            context.Refuse("executable", $"{path} is gone or another file has taken its path", "Start the worker again from the file that is there now.");
            return;
        }

        _image.ExeFile = context.Files.IndexOf(MappedFile.Identity(path, status));
    }

    private void CaptureSignalActions(RemoteSyscalls remote)
    {
        var status = ProcStatus.Read(process.Pid);
        var changed = status.Caught | status.Ignored;
        for (var signal = 1; signal <= 64; signal++)
        {
            if ((changed >> (signal - 1) & 1) == 0)
                continue;
            remote.ClearData(SigactionBytes);
            remote.Require(process.MainThread, SyscallNumber.RtSigaction, (ulong)signal, 0, remote.Data.Start.Value, SignalSetBytes);
            var action = remote.ReadData(SigactionBytes);
            _image.SignalActions.Add(new SignalAction
            {
                Signal = (uint)signal,
                Handler = Word(action, 0),
                Flags = Word(action, 1),
                Restorer = Word(action, 2),
                Mask = Word(action, 3),
            });
        }
    }

    private void CaptureIntervalTimers(RemoteSyscalls remote)
    {
        const ulong MicrosecondsPerSecond = 1_000_000;
        const int TimerKinds = 3;
        for (var which = 0; which < TimerKinds; which++)
        {
            remote.Require(process.MainThread, SyscallNumber.Getitimer, (ulong)which, remote.Data.Start.Value);
            var timer = remote.ReadData(32);
            var value = (Word(timer, 2) * MicrosecondsPerSecond) + Word(timer, 3);
            if (value != 0)
                _image.IntervalTimers.Add(new IntervalTimer { Which = (uint)which, ValueUs = value, IntervalUs = (Word(timer, 0) * MicrosecondsPerSecond) + Word(timer, 1) });
        }
    }

    private void CapturePosixTimers(RemoteSyscalls remote)
    {
        foreach (var timer in ProcTimers.Read(process.Pid))
        {
            if (timer.Clock < 0)
            {
                context.Refuse($"POSIX timer {timer.Id}", "it measures the CPU time of a given process or thread", "Use CLOCK_MONOTONIC or CLOCK_PROCESS_CPUTIME_ID.");
                continue;
            }

            remote.Require(process.MainThread, SyscallNumber.TimerGettime, (ulong)timer.Id, remote.Data.Start.Value);
            var setting = remote.ReadData(32);
            _image.PosixTimers.Add(new PosixTimer
            {
                Id = (uint)timer.Id,
                Clock = timer.Clock,
                Notify = (uint)timer.Notify,
                Signal = (uint)timer.Signal,
                SignalValue = timer.SignalValue,
                NotifyTid = ThreadOf(timer),
                IntervalNs = (Word(setting, 0) * NanosecondsPerSecond) + Word(setting, 1),
                ValueNs = (Word(setting, 2) * NanosecondsPerSecond) + Word(setting, 3),
            });
        }
    }

    /// <summary>The thread a timer signals, in its own PID namespace; 0 when it signals the process.</summary>
    private uint ThreadOf(ProcTimer timer)
    {
        const int SIGEV_THREAD_ID = 4;
        if ((timer.Notify & SIGEV_THREAD_ID) == 0)
            return 0;
        for (var i = 0; i < process.Threads.Count; i++)
        {
            if (process.Threads[i].Tid == timer.Target)
                return _image.Threads[i].Tid;
        }

        context.Refuse($"POSIX timer {timer.Id}", $"it signals thread {timer.Target}, which is gone", "Delete the timer with its thread.");
        return 0;
    }

    /// <summary>A prctl(2) that stores an int.</summary>
    private uint AskWord(RemoteSyscalls remote, ulong option)
    {
        remote.ClearData(sizeof(ulong));
        remote.Require(process.MainThread, SyscallNumber.Prctl, option, remote.Data.Start.Value);
        return BinaryPrimitives.ReadUInt32LittleEndian(remote.ReadData(sizeof(uint)));
    }

    /// <summary>uname(2): six fields of 65 bytes, the second is the node name.</summary>
    private string AskHostname(RemoteSyscalls remote)
    {
        remote.Require(process.MainThread, SyscallNumber.Uname, remote.Data.Start.Value);
        var name = remote.ReadData(NodeNameOffset + NodeNameBytes).AsSpan(NodeNameOffset);
        return System.Text.Encoding.UTF8.GetString(name[..name.IndexOf((byte)0)]);
    }

    private static ulong Word(byte[] bytes, int index) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(index * 8));

    private string ReadText(string name) => System.Text.Encoding.ASCII.GetString(ProcFile.Read($"/proc/{process.Pid}/{name}")).Trim();

    private string LinkOf(string name)
    {
        var errno = ReadLink.Read($"/proc/{process.Pid}/{name}", out var target);
        return errno == Errno.None ? target : throw new LinuxException("readlink", errno, $"/proc/{process.Pid}/{name}");
    }

    private static bool IsSameObject(string left, string right) =>
        FileStatus.At(left, followLast: true, out var one) == Errno.None
        && FileStatus.At(right, followLast: true, out var other) == Errno.None
        && (one.Device, one.Inode) == (other.Device, other.Inode);
}
