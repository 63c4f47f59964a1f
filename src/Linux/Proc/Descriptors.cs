// proc_pid_fd(5).
using System.Globalization;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Linux.Proc;

/// <summary>A descriptor of a process and the text of its link: a path, "pipe:[123]", "socket:[123]", "anon_inode:[eventpoll]", "/memfd:name (deleted)".</summary>
public sealed record DescriptorLink(int Fd, string Target);

/// <summary>Lists <c>/proc/PID/fd</c> and <c>/proc/PID/task</c>.</summary>
public static class Descriptors
{
    /// <summary>Descriptors in ascending order. One that is closed while we look is left out.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone; EACCES.</exception>
    public static List<DescriptorLink> Read(int pid)
    {
        var links = new List<DescriptorLink>();
        foreach (var fd in Numbers(pid, "fd"))
        {
            var errno = ReadLink.Read($"/proc/{pid}/fd/{fd}", out var target);
            if (errno == Errno.None)
                links.Add(new DescriptorLink(fd, target));
            else if (errno != Errno.ENOENT)
                throw ProcFile.Failure(pid, null, $"/proc/{pid}/fd/{fd}", errno);
        }
        return links;
    }

    /// <summary>Threads of the process in ascending order.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone.</exception>
    public static List<int> Threads(int pid) => Numbers(pid, "task");

    private static List<int> Numbers(int pid, string directory)
    {
        var path = $"/proc/{pid}/{directory}";
        try
        {
            var numbers = new List<int>();
            foreach (var entry in Directory.EnumerateFileSystemEntries(path))
            {
                if (int.TryParse(Path.GetFileName(entry.AsSpan()), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                    numbers.Add(number);
            }
            numbers.Sort();
            return numbers;
        }
        catch (DirectoryNotFoundException)
        {
            throw ProcFile.Failure(pid, null, path, Errno.ENOENT);
        }
        catch (UnauthorizedAccessException)
        {
            throw ProcFile.Failure(pid, null, path, Errno.EACCES);
        }
    }
}
