using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary><c>struct clone_args</c> of clone3(2) (uapi linux/sched.h, version 2, Linux 5.7).</summary>
public sealed record CloneArguments
{
    public const int SizeBytes = 88;

    /// <summary>CLONE_* bits.</summary>
    public ulong Flags { get; init; }

    /// <summary>Where the kernel clears the thread id when the thread ends (CLONE_CHILD_CLEARTID).</summary>
    public ulong ChildTid { get; init; }

    /// <summary>FS base of the new thread (CLONE_SETTLS).</summary>
    public ulong ThreadLocalStorage { get; init; }

    /// <summary>The id to have in the innermost PID namespace; 0 leaves the choice to the kernel.</summary>
    public uint RequestedTid { get; init; }

    public ulong ExitSignal { get; init; }

    /// <summary>Writes the structure, and the array of ids it points to, into the program's data.</summary>
    public VirtualAddress Place(ProgramBuilder builder)
    {
        var tids = RequestedTid == 0 ? VirtualAddress.Null : builder.Data(BitConverter.GetBytes(RequestedTid));
        // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
        return builder.Words(Flags, 0, ChildTid, 0, ExitSignal, 0, 0, ThreadLocalStorage, tids.Value, tids.IsNull ? 0UL : 1UL, 0);
    }
}
