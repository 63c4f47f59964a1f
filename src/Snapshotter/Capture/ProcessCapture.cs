using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Captures what belongs to the process as a whole: identity, address space layout, signal actions, timers, limits, credentials, attributes.</summary>
internal sealed class ProcessCapture(CaptureContext context, StoppedProcess process, RemoteSyscalls remote)
{
    private const int PR_GET_PDEATHSIG = 2;
    private const int PR_GET_DUMPABLE = 3;
    private const int PR_GET_SECUREBITS = 27;
    private const int PR_GET_CHILD_SUBREAPER = 37;
    private const int MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9;
    private const int SignalCount = 64;

    public void Capture()
    {
        var status = ProcStatus.Read(context.Pid);
        CaptureIdentity(status);
        CaptureLayout();
        CaptureSignalActions(status);
        CaptureIntervalTimers();
        CapturePosixTimers();
        CaptureLimits();
        CaptureCredentials(status);
        CaptureAttributes(status);
        foreach (var signal in process.MainThread.ReadPendingSignalsOfProcess())
            context.Image.PendingSignals.Add(ByteString.CopyFrom(signal));
    }

    private string ProcPath(string name) => string.Create(CultureInfo.InvariantCulture, $"/proc/{context.Pid}/{name}");

    private string ReadText(string name) => File.ReadAllText(ProcPath(name)).Trim();

    private void CaptureIdentity(ProcStatus status)
    {
        var image = context.Image;
        image.Pid = (uint)status.NamespacePids[^1];
        image.SessionId = (uint)status.NamespaceSessions[^1];
        image.ProcessGroupId = (uint)status.NamespaceProcessGroups[^1];
        image.Name = status.Name;
        image.WorkingDirectory = ReadLinkOf("cwd");
        image.RootDirectory = ReadLinkOf("root");
        if (image.RootDirectory != "/")
            context.Refuse("root directory", $"it is {image.RootDirectory}, not /", "Start the worker without chroot(2); container file systems come with a later version.");
        if (image.WorkingDirectory.EndsWith(" (deleted)", StringComparison.Ordinal) || !Directory.Exists(image.WorkingDirectory))
            context.Refuse("working directory", $"{image.WorkingDirectory} is gone", "Let the worker change into a directory that stays.");
        CaptureExecutable();
        remote.Require(process.MainThread, SyscallNumber.Uname, remote.Data.Start.Value);
        const int FieldBytes = 65; // struct utsname: sysname, nodename, …
        var name = remote.ReadData(2 * FieldBytes).AsSpan(FieldBytes);
        image.Hostname = Encoding.UTF8.GetString(name[..name.IndexOf((byte)0)]);
    }

    private void CaptureExecutable()
    {
        var path = ReadLinkOf("exe");
        if (FileIdentities.Of(path) is { } identity)
            context.Image.ExeFile = context.Files.IndexOf(identity);
        else
            context.Refuse("executable", $"{path} is gone", "Restart the worker from a program file that stays.");
    }

    private string ReadLinkOf(string name) =>
        ReadLink.Read(ProcPath(name), out var target) is var errno && errno == Errno.None ? target : throw new LinuxException("readlink", errno, ProcPath(name));

    private void CaptureLayout()
    {
        var stat = ProcStat.Read(context.Pid);
        context.Image.Layout = new AddressSpaceLayout
        {
            StartCode = stat.StartCode.Value,
            EndCode = stat.EndCode.Value,
            StartData = stat.StartData.Value,
            EndData = stat.EndData.Value,
            StartBrk = stat.StartBrk.Value,
            Brk = remote.Require(process.MainThread, SyscallNumber.Brk, 0),
            StartStack = stat.StartStack.Value,
            ArgStart = stat.ArgStart.Value,
            ArgEnd = stat.ArgEnd.Value,
            EnvStart = stat.EnvStart.Value,
            EnvEnd = stat.EnvEnd.Value,
            Auxv = ByteString.CopyFrom(File.ReadAllBytes(ProcPath("auxv"))),
        };
    }

    private void CaptureSignalActions(ProcStatus status)
    {
        var changed = status.Ignored | status.Caught;
        for (var signal = 1; signal <= SignalCount; signal++)
        {
            if ((changed >> (signal - 1) & 1) == 0)
                continue;
            remote.Require(process.MainThread, SyscallNumber.RtSigaction, (ulong)signal, 0, remote.Data.Start.Value, 8);
            var words = Words(remote.ReadData(32));
            context.Image.SignalActions.Add(new SignalAction { Signal = (uint)signal, Handler = words[0], Flags = words[1], Restorer = words[2], Mask = words[3] });
        }
    }

    private void CaptureIntervalTimers()
    {
        const ulong TimerKinds = 3; // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF
        for (ulong which = 0; which < TimerKinds; which++)
        {
            remote.Require(process.MainThread, SyscallNumber.Getitimer, which, remote.Data.Start.Value);
            var words = Words(remote.ReadData(32)); // interval, then value; each seconds and microseconds
            if ((words[2] | words[3]) != 0)
                context.Image.IntervalTimers.Add(new IntervalTimer { Which = (uint)which, IntervalUs = (words[0] * 1_000_000) + words[1], ValueUs = (words[2] * 1_000_000) + words[3] });
        }
    }

    private void CapturePosixTimers()
    {
        const ulong NanosecondsPerSecond = 1_000_000_000;
        const uint SIGEV_THREAD_ID = 4;
        foreach (var timer in ProcTimers.Read(context.Pid))
        {
            remote.Require(process.MainThread, SyscallNumber.TimerGettime, (ulong)timer.Id, remote.Data.Start.Value);
            var words = Words(remote.ReadData(32));
            context.Image.PosixTimers.Add(new PosixTimer
            {
                Id = (uint)timer.Id,
                Clock = timer.Clock,
                Notify = (uint)timer.Notify,
                Signal = (uint)timer.Signal,
                SignalValue = timer.SignalValue,
                NotifyTid = ((uint)timer.Notify & SIGEV_THREAD_ID) != 0 ? (uint)ProcStatus.Read(context.Pid, timer.Target).NamespacePids[^1] : 0,
                IntervalNs = (words[0] * NanosecondsPerSecond) + words[1],
                ValueNs = (words[2] * NanosecondsPerSecond) + words[3],
            });
        }
    }

    private void CaptureLimits()
    {
        foreach (var resource in Enum.GetValues<ResourceKind>())
        {
            var limits = Prlimit.Get(context.Pid, resource);
            context.Image.Limits.Add(new ResourceLimit { Resource = (uint)resource, Soft = limits.Soft, Hard = limits.Hard });
        }
    }

    private void CaptureCredentials(ProcStatus status)
    {
        context.Image.Credentials = Credentials(status);
        context.Image.Credentials.Securebits = (uint)remote.Require(process.MainThread, SyscallNumber.Prctl, PR_GET_SECUREBITS);
        foreach (var thread in process.Threads.Skip(1))
        {
            var other = Credentials(ProcStatus.Read(context.Pid, thread.Tid));
            other.Securebits = context.Image.Credentials.Securebits;
            if (!other.Equals(context.Image.Credentials))
                context.Refuse($"thread {thread.Tid}", "its credentials differ from the main thread's", "Change identity in all threads (setuid(3) of the C library does), or before they are started.");
        }
    }

    private static Credentials Credentials(ProcStatus status) => new()
    {
        Uids = { status.Uids },
        Gids = { status.Gids },
        Groups = { status.Groups },
        CapInheritable = status.CapInheritable,
        CapPermitted = status.CapPermitted,
        CapEffective = status.CapEffective,
        CapBounding = status.CapBounding,
        CapAmbient = status.CapAmbient,
    };

    private void CaptureAttributes(ProcStatus status)
    {
        var image = context.Image;
        image.Umask = (uint)status.Umask;
        image.NoNewPrivileges = status.NoNewPrivileges;
        image.ThpDisabled = !status.ThpEnabled;
        image.Personality = ulong.Parse(ReadText("personality"), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        image.OomScoreAdj = int.Parse(ReadText("oom_score_adj"), CultureInfo.InvariantCulture);
        image.Dumpable = (uint)remote.Require(process.MainThread, SyscallNumber.Prctl, PR_GET_DUMPABLE);
        image.ParentDeathSignal = ReadInt(PR_GET_PDEATHSIG);
        image.ChildSubreaper = ReadInt(PR_GET_CHILD_SUBREAPER) != 0;
        image.MembarrierRegistrations = remote.Require(process.MainThread, SyscallNumber.Membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS);
    }

    private uint ReadInt(int option)
    {
        remote.ClearData(4);
        remote.Require(process.MainThread, SyscallNumber.Prctl, (ulong)option, remote.Data.Start.Value);
        return BinaryPrimitives.ReadUInt32LittleEndian(remote.ReadData(4));
    }

    private static ulong[] Words(byte[] bytes)
    {
        var words = new ulong[bytes.Length / 8];
        for (var i = 0; i < words.Length; i++)
            words[i] = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8 * i));
        return words;
    }
}
