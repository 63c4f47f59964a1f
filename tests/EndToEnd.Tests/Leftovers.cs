using Snapshots.Linux;
using Snapshots.Linux.Proc;

namespace Snapshots.EndToEnd.Tests;

/// <summary>What an agent holds at one moment, to compare two moments.</summary>
/// <param name="Descendants">Processes that descend from the agent.</param>
/// <param name="NetworkNamespaces">Distinct network namespaces in which any process of the machine lives.</param>
/// <param name="Mounts">Mounts that this process sees.</param>
/// <param name="Descriptors">Open descriptors of the agent.</param>
internal sealed record Leftovers(int Descendants, int NetworkNamespaces, int Mounts, int Descriptors)
{
    public static Leftovers Of(int agent)
    {
        var processes = Processes();
        return new Leftovers(
            DescendantsOf(agent, processes).Count,
            processes.Select(process => NetworkNamespaceOf(process.Pid)).Where(name => name is not null).Distinct().Count(),
            File.ReadLines("/proc/self/mountinfo").Count(),
            Directory.EnumerateFileSystemEntries($"/proc/{agent}/fd").Count());
    }

    /// <summary>Pid and start time: together they name a process for good.</summary>
    public static HashSet<(int Pid, ulong Start)> DescendantsOf(int ancestor) => DescendantsOf(ancestor, Processes());

    public static HashSet<(int Pid, ulong Start)> Alive() => [.. Processes().Select(process => (process.Pid, process.StartTimeTicks))];

    /// <summary>Nothing grew: fewer is well, such as a pool that is still being filled again.</summary>
    public bool IsWithin(Leftovers before) =>
        Descendants <= before.Descendants && NetworkNamespaces <= before.NetworkNamespaces && Mounts <= before.Mounts && Descriptors <= before.Descriptors;

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

    private static string? NetworkNamespaceOf(int pid)
    {
        try
        {
            return File.ResolveLinkTarget($"/proc/{pid}/ns/net", returnFinalTarget: false)?.Name;
        }
        catch (Exception unreadable) when (unreadable is IOException or UnauthorizedAccessException)
        {
            return null; // a zombie has none, a process that ended has no folder, and some may not be looked into
        }
    }
}
