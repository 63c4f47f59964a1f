// proc_pid_task(5): /proc/PID/task/TID/children; Linux 3.5, CONFIG_PROC_CHILDREN.
using System.Globalization;

namespace Snapshots.Linux.Proc;

/// <summary>Lists the children of a process that is not stopped: the kernel may leave one out while another of them ends.</summary>
public static class ChildProcesses
{
    /// <summary>Children of all threads of <paramref name="pid"/>, zombies included; none when it is gone.</summary>
    public static List<int> Of(int pid)
    {
        var children = new List<int>();
        try
        {
            foreach (var tid in Descriptors.Threads(pid))
            {
                if (ProcFile.TryRead(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/task/{tid}/children"), out var text) == Errno.None)
                    Parse(text, children);
            }
        }
        catch (LinuxException gone) when (gone.Errno is Errno.ESRCH or Errno.ENOENT)
        {
            // What it had went to another parent.
        }
        return children;
    }

    /// <summary>Children of <paramref name="pid"/>, theirs, and so on; not itself.</summary>
    public static List<int> DescendantsOf(int pid)
    {
        var found = new List<int>();
        var seen = new HashSet<int> { pid };
        var open = new Stack<int>([pid]);
        while (open.TryPop(out var parent))
        {
            // A pid may turn up twice when its parent ends meanwhile and it gets another.
            foreach (var child in Of(parent).Where(seen.Add))
            {
                found.Add(child);
                open.Push(child);
            }
        }
        return found;
    }

    /// <summary>
    /// Takes one file:
    /// <code>4711 4712 </code>
    /// </summary>
    private static void Parse(ReadOnlySpan<byte> text, List<int> children)
    {
        var cursor = new TextCursor(text);
        for (cursor.SkipSpaces(); cursor.TryDecimal(out var child); cursor.SkipSpaces())
            children.Add((int)child);
    }
}
