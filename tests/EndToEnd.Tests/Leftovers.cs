using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.TestTargets;

/// <summary>What an agent, or any process that runs an engine, holds at one moment, to compare two moments.</summary>
/// <remarks>Of others on the machine nothing is counted: they come and go. Whoever left the family is found by <see cref="Alive"/>.</remarks>
/// <param name="Descendants">Processes that descend from the agent.</param>
/// <param name="Namespaces">Distinct namespaces, of all kinds, in which these live.</param>
/// <param name="Mounts">Mounts that this process sees.</param>
/// <param name="Descriptors">Open descriptors of the agent.</param>
/// <param name="Cgroups">Control groups of the machine, in all hierarchies.</param>
internal sealed record Leftovers(int Descendants, int Namespaces, int Mounts, int Descriptors, int Cgroups)
{
    private static readonly string[] NamespaceKinds = ["net", "mnt", "pid", "ipc", "uts", "user", "cgroup", "time"];

    public static Leftovers Of(int agent)
    {
        var family = DescendantsOf(agent);
        return new Leftovers(
            family.Count,
            family.SelectMany(process => NamespacesOf(process.Pid)).Distinct().Count(),
            File.ReadLines("/proc/self/mountinfo").Count(),
            Directory.EnumerateFileSystemEntries($"/proc/{agent}/fd").Count(),
            Directory.EnumerateDirectories("/sys/fs/cgroup", "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint }).Count());
    }

    /// <summary>Pid and start time: together they name a process for good.</summary>
    public static HashSet<(int Pid, ulong Start)> DescendantsOf(int ancestor) => DescendantsOf(ancestor, Processes());

    public static HashSet<(int Pid, ulong Start)> Alive() => [.. Processes().Select(process => (process.Pid, process.StartTimeTicks))];

    /// <summary>Those that are not merely waiting to be reaped: by us, or by whoever inherited them.</summary>
    public static HashSet<(int Pid, ulong Start)> Running() => [.. Processes().Where(process => process.State is not ('Z' or 'X')).Select(process => (process.Pid, process.StartTimeTicks))];

    /// <summary>Nothing grew: fewer is well, such as a pool that is still being filled again.</summary>
    public bool IsWithin(Leftovers before) =>
        Descendants <= before.Descendants && Namespaces <= before.Namespaces && Mounts <= before.Mounts && Descriptors <= before.Descriptors && Cgroups <= before.Cgroups;

    private static HashSet<(int Pid, ulong Start)> DescendantsOf(int ancestor, List<ProcStat> processes)
    {
        var byParent = processes.ToLookup(process => process.ParentPid);
        var found = new HashSet<(int, ulong)>();
        var open = new Stack<int>([ancestor]);
        while (open.TryPop(out var parent))
        {
            foreach (var child in byParent[parent])
            {
                if (found.Add((child.Pid, child.StartTimeTicks)))
                    open.Push(child.Pid);
            }
        }
        return found;
    }

    private static List<ProcStat> Processes()
    {
        var found = new List<ProcStat>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out var pid))
                continue;
            try
            {
                found.Add(ProcStat.Read(pid));
            }
            catch (LinuxException gone) when (gone.Errno is Errno.ENOENT or Errno.ESRCH)
            {
                // It ended between the listing and the look.
            }
        }
        return found;
    }

    /// <summary>Their names, e.g. <c>net:[4026531840]</c>; a zombie has none, and a process that ended has no folder.</summary>
    private static IEnumerable<string> NamespacesOf(int pid) =>
        NamespaceKinds.Select(kind => ReadLink.Read($"/proc/{pid}/ns/{kind}", out var name) == Errno.None ? name : null).OfType<string>();
}
