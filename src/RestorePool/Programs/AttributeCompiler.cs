using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>Attributes of the process: those that fork hands on are set once in the template, the others in each clone.</summary>
internal sealed class AttributeCompiler(ProgramBuilder builder, ProcessImage process)
{
    private const int PR_SET_DUMPABLE = 4;
    private const int PR_SET_NAME = 15;
    private const int PR_SET_TIMERSLACK = 29;
    private const int PR_SET_CHILD_SUBREAPER = 36;
    private const int PR_SET_NO_NEW_PRIVS = 38;
    private const int PR_SET_THP_DISABLE = 41;
    private const int ARCH_SET_GS = 0x1001;
    private const int ARCH_SET_FS = 0x1002;

    /// <summary>In the template, once.</summary>
    /// <param name="parent">Whose attributes it was born with, when it is a fork of another template; null for those of a husk.</param>
    public void EmitInherited(ProcessImage? parent = null)
    {
        EmitDefaultActions(parent);
        EmitSignalActions();
        EmitMembarrier();
        var main = process.Threads[0];
        builder.Syscall(SyscallNumber.ArchPrctl, "FS base of the main thread", ARCH_SET_FS, UserRegisters.FsBase(main));
        var gs = UserRegisters.GsBase(main);
        if (gs != (parent is null ? 0 : UserRegisters.GsBase(parent.Threads[0])))
            builder.Syscall(SyscallNumber.ArchPrctl, "GS base of the main thread", ARCH_SET_GS, gs);
        builder.Syscall(SyscallNumber.Personality, "personality", process.Personality);
        builder.Syscall(SyscallNumber.Umask, "umask", process.Umask);
        builder.Syscall(SyscallNumber.Prctl, "name", PR_SET_NAME, builder.Text(main.Name));
        EmitTimerSlack(builder, main);
        if (process.ThpDisabled != (parent?.ThpDisabled ?? false))
            builder.Syscall(SyscallNumber.Prctl, "transparent huge pages disabled", PR_SET_THP_DISABLE, process.ThpDisabled ? 1 : 0, 0, 0, 0);
        if (process.NoNewPrivileges)
            builder.Syscall(SyscallNumber.Prctl, "no_new_privs", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        EmitProcFiles(parent);
        SchedulingCompiler.Emit(builder, main, parent?.Threads[0].Scheduling ?? new Scheduling(), "main thread");
        // Last: reading /proc/self above needs the dumpable state the husk was born with.
        if (process.Dumpable is 0 or 1)
            builder.Syscall(SyscallNumber.Prctl, "dumpable", PR_SET_DUMPABLE, process.Dumpable);
    }

    /// <summary>In each clone.</summary>
    public void EmitPerClone()
    {
        if (process.ChildSubreaper)
            builder.Syscall(SyscallNumber.Prctl, "child subreaper", PR_SET_CHILD_SUBREAPER, 1);
        if (process.ParentDeathSignal != 0)
            throw new RestoreUnsupportedException($"pid {process.Pid}: a parent death signal ({process.ParentDeathSignal}) is set, but a clone's parent is one of the farm's threads; clear it with prctl(PR_SET_PDEATHSIG, 0) before the worker is ready");
        foreach (var timer in process.IntervalTimers)
            EmitIntervalTimer(timer);
        if (process.PosixTimers.Count > 0)
            PosixTimerCompiler.Emit(builder, process.PosixTimers);
    }

    public static void EmitTimerSlack(ProgramBuilder builder, ThreadImage thread)
    {
        if (thread.TimerSlackNs != 0)
            builder.Syscall(SyscallNumber.Prctl, $"timer slack of thread {thread.Tid}", PR_SET_TIMERSLACK, thread.TimerSlackNs);
    }

    public static void EmitName(ProgramBuilder builder, ThreadImage thread) =>
        builder.Syscall(SyscallNumber.Prctl, $"name of thread {thread.Tid}", PR_SET_NAME, builder.Text(thread.Name));

    /// <summary>Signals that the parent handles and this process does not.</summary>
    private void EmitDefaultActions(ProcessImage? parent)
    {
        foreach (var signal in (parent?.SignalActions.Select(action => action.Signal) ?? []).Except(process.SignalActions.Select(action => action.Signal)))
            builder.Syscall(SyscallNumber.RtSigaction, string.Create(CultureInfo.InvariantCulture, $"signal {signal} to its default"), signal, builder.Words(0, 0, 0, 0), 0, 8);
    }

    private void EmitSignalActions()
    {
        foreach (var action in process.SignalActions)
        {
            var structure = builder.Words(action.Handler, action.Flags, action.Restorer, action.Mask);
            builder.Syscall(SyscallNumber.RtSigaction, string.Create(CultureInfo.InvariantCulture, $"signal {action.Signal}"), action.Signal, structure, 0, 8);
        }
    }

    /// <summary>membarrier(2): a registration is asked for by the command of the same bit as GET_REGISTRATIONS reports.</summary>
    private void EmitMembarrier()
    {
        for (var bit = 1UL; bit <= process.MembarrierRegistrations && bit != 0; bit <<= 1)
        {
            if ((process.MembarrierRegistrations & bit) == 0)
                continue;
            builder.Syscall(SyscallNumber.Membarrier, $"membarrier registration {bit}", bit, 0, 0);
        }
    }

    /// <summary>Attributes that are files of /proc/self (proc(5)); written only where they differ from what the process was born with.</summary>
    private void EmitProcFiles(ProcessImage? parent)
    {
        var oomScore = process.OomScoreAdj.ToString(CultureInfo.InvariantCulture);
        if (oomScore != (parent?.OomScoreAdj.ToString(CultureInfo.InvariantCulture) ?? OwnValue("oom_score_adj")))
            EmitProcFile("oom_score_adj", oomScore);
        var inherited = parent is { HasCoredumpFilter: true } ? parent.CoredumpFilter : uint.Parse(OwnValue("coredump_filter"), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        if (process.HasCoredumpFilter && process.CoredumpFilter != inherited)
            EmitProcFile("coredump_filter", string.Create(CultureInfo.InvariantCulture, $"0x{process.CoredumpFilter:x}"));
    }

    private void EmitProcFile(string name, string value)
    {
        const int O_WRONLY = 1;
        const int AT_FDCWD = -100;
        var text = Encoding.ASCII.GetBytes(value);
        var fd = builder.Word();
        builder.Syscall(SyscallNumber.Openat, name, AT_FDCWD, builder.Text($"/proc/self/{name}"), O_WRONLY, 0).StoreTo(fd);
        builder.Syscall(SyscallNumber.Write, $"{name} {value}", Operand.Load64(fd), builder.Data(text), text.Length);
        builder.Syscall(SyscallNumber.Close, name, Operand.Load64(fd));
    }

    private static string OwnValue(string name) => File.ReadAllText($"/proc/self/{name}").Trim();

    private void EmitIntervalTimer(IntervalTimer timer)
    {
        Span<byte> value = stackalloc byte[32];
        BinaryPrimitives.WriteUInt64LittleEndian(value, timer.IntervalUs / 1_000_000);
        BinaryPrimitives.WriteUInt64LittleEndian(value[8..], timer.IntervalUs % 1_000_000);
        BinaryPrimitives.WriteUInt64LittleEndian(value[16..], timer.ValueUs / 1_000_000);
        BinaryPrimitives.WriteUInt64LittleEndian(value[24..], timer.ValueUs % 1_000_000);
        builder.Syscall(SyscallNumber.Setitimer, $"interval timer {timer.Which}", timer.Which, builder.Data(value), 0);
    }
}
