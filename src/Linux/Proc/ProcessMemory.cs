// proc_pid_smaps(5) for smaps_rollup (Linux 4.14), proc_pid_status(5) for VmPTE.
namespace Snapshots.Linux.Proc;

/// <summary>Memory of one process, or of several added together, in KiB.</summary>
/// <remarks>
/// Reading stops nobody: the kernel walks the page tables while it holds the address space's lock for reading, and lets go of it when somebody
/// waits. The walk is what it costs; the single mappings of smaps are never read.
/// </remarks>
public readonly record struct ProcessMemory
{
    /// <summary>How many processes were added together.</summary>
    public int Processes { get; init; }

    /// <summary>Pages in memory, whoever else has them: adding several processes counts shared pages several times.</summary>
    public ulong ResidentKib { get; init; }

    /// <summary>Pages in memory, each divided by the number of its users: adding up all users counts every page once.</summary>
    public ulong PssKib { get; init; }

    public ulong SharedCleanKib { get; init; }

    public ulong SharedDirtyKib { get; init; }

    public ulong PrivateCleanKib { get; init; }

    public ulong PrivateDirtyKib { get; init; }

    /// <summary>Pages in swap, each divided by the number of its users.</summary>
    public ulong SwapPssKib { get; init; }

    /// <summary>Resident anonymous memory that lies in huge pages.</summary>
    public ulong HugeKib { get; init; }

    /// <summary>Page tables of all levels; each process has its own, and no other number here contains them.</summary>
    public ulong PageTablesKib { get; init; }

    public ulong SharedKib => SharedCleanKib + SharedDirtyKib;

    public ulong PrivateKib => PrivateCleanKib + PrivateDirtyKib;

    /// <summary>Memory of a process; null when it is gone, or ended and not reaped yet.</summary>
    /// <exception cref="LinuxException">EACCES: not ours to look at.</exception>
    public static ProcessMemory? TryRead(int pid)
    {
        try
        {
            // First the status: a process that has no memory any more says so there, and the rollup of one that has is complete.
            var status = ProcStatus.Read(pid);
            return status.VmSizeKib == 0 ? null : Of(SmapsRollup.Read(pid), status.PageTablesKib);
        }
        catch (LinuxException gone) when (gone.Errno is Errno.ESRCH or Errno.ENOENT)
        {
            return null;
        }
    }

    /// <summary>Memory of those processes that are still there.</summary>
    /// <exception cref="LinuxException">EACCES: one of them is not ours to look at.</exception>
    public static ProcessMemory Sum(IEnumerable<int> pids) =>
        pids.Select(TryRead).OfType<ProcessMemory>().Aggregate(new ProcessMemory(), (sum, one) => sum + one);

    public static ProcessMemory operator +(ProcessMemory left, ProcessMemory right) => new()
    {
        Processes = left.Processes + right.Processes,
        ResidentKib = left.ResidentKib + right.ResidentKib,
        PssKib = left.PssKib + right.PssKib,
        SharedCleanKib = left.SharedCleanKib + right.SharedCleanKib,
        SharedDirtyKib = left.SharedDirtyKib + right.SharedDirtyKib,
        PrivateCleanKib = left.PrivateCleanKib + right.PrivateCleanKib,
        PrivateDirtyKib = left.PrivateDirtyKib + right.PrivateDirtyKib,
        SwapPssKib = left.SwapPssKib + right.SwapPssKib,
        HugeKib = left.HugeKib + right.HugeKib,
        PageTablesKib = left.PageTablesKib + right.PageTablesKib,
    };

    private static ProcessMemory Of(MemoryUse use, ulong pageTablesKib) => new()
    {
        Processes = 1,
        ResidentKib = use.RssKib,
        PssKib = use.PssKib,
        SharedCleanKib = use.SharedCleanKib,
        SharedDirtyKib = use.SharedDirtyKib,
        PrivateCleanKib = use.PrivateCleanKib,
        PrivateDirtyKib = use.PrivateDirtyKib,
        SwapPssKib = use.SwapPssKib,
        HugeKib = use.AnonymousHugeKib,
        PageTablesKib = pageTablesKib,
    };
}
