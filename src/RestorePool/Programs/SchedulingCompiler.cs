using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>Scheduling policy, priority, nice value and CPU affinity of a thread (sched(7)).</summary>
internal static class SchedulingCompiler
{
    private const int PRIO_PROCESS = 0;

    /// <summary>Whether a template may step back while it forks clones to park: those have to come forward again.</summary>
    public static bool MayStepBack { get; } = Capabilities.Has(Capability.SystemNice);

    /// <summary>Takes the nice value that a clone was to have, whatever its template had when it was born.</summary>
    public static void EmitStepForward(ProgramBuilder builder, ThreadImage main)
    {
        if (MayStepBack)
            builder.Syscall(SyscallNumber.Setpriority, "nice value of a started clone", PRIO_PROCESS, 0, main.Scheduling?.Nice ?? 0);
    }

    /// <summary>Sets what differs from what a husk is born with; for the calling thread.</summary>
    public static void Emit(ProgramBuilder builder, ThreadImage thread, string subject) => Emit(builder, thread, new Scheduling(), subject);

    /// <summary>Sets what differs from <paramref name="inherited"/>.</summary>
    public static void Emit(ProgramBuilder builder, ThreadImage thread, Scheduling inherited, string subject)
    {
        var wanted = thread.Scheduling ?? new Scheduling();
        if (wanted.Policy != inherited.Policy || wanted.Priority != inherited.Priority)
            builder.Syscall(SyscallNumber.SchedSetscheduler, $"scheduling policy {wanted.Policy} of {subject}", 0, wanted.Policy, builder.Data(BitConverter.GetBytes(wanted.Priority)));
        if (wanted.Nice != inherited.Nice)
            builder.Syscall(SyscallNumber.Setpriority, $"nice {wanted.Nice} of {subject}", PRIO_PROCESS, 0, wanted.Nice);
        if (wanted.Affinity != inherited.Affinity && !wanted.Affinity.IsEmpty)
            builder.Syscall(SyscallNumber.SchedSetaffinity, $"CPU affinity of {subject}", 0, wanted.Affinity.Length, builder.Data(wanted.Affinity.Span));
    }
}
