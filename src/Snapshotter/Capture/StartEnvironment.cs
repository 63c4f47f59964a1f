using System.Globalization;
using System.Text;
using Snapshots.Linux;
using Snapshots.Linux.Proc;

namespace Snapshots.Snapshotter.Capture;

/// <summary>The environment that a process was started with, as the kernel still finds it in its memory (/proc/PID/environ).</summary>
public static class StartEnvironment
{
    /// <summary>The value of a variable; null when it is not set, or the process is gone.</summary>
    public static string? TryRead(int pid, string name)
    {
        if (ProcFile.TryRead(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/environ"), out var environment) != Errno.None)
            return null;
        var prefix = name + "=";
        return Encoding.UTF8.GetString(environment).Split('\0').FirstOrDefault(entry => entry.StartsWith(prefix, StringComparison.Ordinal))?[prefix.Length..];
    }
}
