using System.Globalization;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Resource limits (getrlimit(2)). fork hands them on, so those that cannot get in the way are set once, in the template. The others would bind
/// our own work: a template with the worker's CPU limit is killed after so many forks, one with its RLIMIT_NOFILE cannot receive an order. For
/// them the template has the higher of the worker's limit and ours, and each clone comes down to the worker's when nothing else is left to do.
/// A limit that the worker shares with the farm, as one that was launched by it does, costs a clone nothing.
/// </summary>
/// <param name="builder">Of the memory program or the clone program.</param>
/// <param name="process">Whose limits.</param>
/// <param name="controlDescriptor">The highest descriptor that is kept in a template.</param>
internal sealed class LimitCompiler(ProgramBuilder builder, ProcessImage process, int controlDescriptor)
{
    /// <summary>Descriptors above ours that a clone program may need for a moment.</summary>
    private const int TemporaryDescriptors = 64;

    /// <summary>In the template, before the first descriptor moves to a number that our own limit may not allow.</summary>
    /// <exception cref="RestoreUnsupportedException">A limit must be raised above ours, and we may not.</exception>
    public void EmitInTemplate()
    {
        foreach (var limit in process.Limits)
        {
            var chosen = InTemplate(limit);
            if (chosen.Hard > Own(limit).Hard && !Capabilities.Has(Capability.SystemResource))
                throw new RestoreUnsupportedException($"pid {process.Pid}: its {Prlimit.NameOf(Kind(limit))} needs a hard limit of {Text(chosen.Hard)}, the farm's is {Text(Own(limit).Hard)}; raise the farm's limit (ulimit, LimitNOFILE= and the like of systemd) or run it with {Capabilities.NameOf(Capability.SystemResource)}");
            Emit(Kind(limit), chosen);
        }
    }

    /// <summary>In each clone, by its main thread, when descriptors, memory and all threads are complete.</summary>
    public void EmitPerClone()
    {
        foreach (var limit in process.Limits)
        {
            if (InTemplate(limit) != Wanted(limit))
                Emit(Kind(limit), Wanted(limit));
        }
    }

    private ResourceLimits InTemplate(ResourceLimit limit)
    {
        var wanted = Wanted(limit);
        if (IsHarmless(Kind(limit)))
            return wanted;
        var own = Own(limit);
        var needed = Kind(limit) == ResourceKind.OpenFiles ? (ulong)(controlDescriptor + 1 + TemporaryDescriptors) : 0;
        var soft = Math.Max(needed, Math.Max(own.Soft, wanted.Soft));
        return new ResourceLimits(soft, Math.Max(soft, Math.Max(own.Hard, wanted.Hard)));
    }

    /// <summary>Limits that bind nothing a template or a clone program does: core dumps, growth of the stack, POSIX queues, and what the kernel ignores.</summary>
    private static bool IsHarmless(ResourceKind kind) =>
        kind is ResourceKind.Core or ResourceKind.Stack or ResourceKind.MessageQueues or ResourceKind.Rss or ResourceKind.Locks;

    private void Emit(ResourceKind kind, ResourceLimits limits) =>
        builder.Syscall(SyscallNumber.Prlimit64, $"{Prlimit.NameOf(kind)} ({Text(limits.Soft)}, {Text(limits.Hard)})", 0, (int)kind, builder.Words(limits.Soft, limits.Hard), 0);

    private static ResourceKind Kind(ResourceLimit limit) => (ResourceKind)limit.Resource;

    private static ResourceLimits Wanted(ResourceLimit limit) => new(limit.Soft, limit.Hard);

    /// <summary>A husk is born with the limits of whoever starts it.</summary>
    private static ResourceLimits Own(ResourceLimit limit) => Prlimit.Get(0, Kind(limit));

    private static string Text(ulong value) => value == ResourceLimits.Infinity ? "unlimited" : value.ToString(CultureInfo.InvariantCulture);
}
