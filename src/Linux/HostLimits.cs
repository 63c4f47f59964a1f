// proc_sys_kernel(5), proc_sys_vm(5), proc_sys_fs(5), proc_sys_user(5), proc_meminfo(5).
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Linux;

/// <summary>One limit of the host.</summary>
/// <param name="Name">The setting, as sysctl(8), getrlimit(2) or /proc/meminfo spell it.</param>
/// <param name="Value">null when the host does not have the setting; <see cref="ulong.MaxValue"/> for none.</param>
/// <param name="Unit">What is counted: "processes", "KiB", ….</param>
/// <param name="Detail">Where it was read.</param>
public sealed record HostLimit(string Name, ulong? Value, string Unit, string Detail)
{
    public bool IsUnlimited => Value == ulong.MaxValue;

    public override string ToString() => $"{Name} {(Value is { } value ? IsUnlimited ? "unlimited" : value.ToString(CultureInfo.InvariantCulture) : "absent")} {Unit}";
}

/// <summary>Limits that many clones on one host can reach.</summary>
public static class HostLimits
{
    /// <summary>The limits as they are now; settings change, so ask again rather than keep them.</summary>
    public static IReadOnlyList<HostLimit> Read() =>
    [
        Setting("kernel.pid_max", "/proc/sys/kernel/pid_max", "processes and threads"),
        Setting("kernel.threads-max", "/proc/sys/kernel/threads-max", "processes and threads"),
        Setting("vm.max_map_count", "/proc/sys/vm/max_map_count", "mappings of one process"),
        Setting("fs.nr_open", "/proc/sys/fs/nr_open", "descriptors of one process"),
        Setting("fs.file-max", "/proc/sys/fs/file-max", "open files"),
        Setting("fs.inotify.max_user_instances", "/proc/sys/fs/inotify/max_user_instances", "inotify instances of one user"),
        Setting("user.max_pid_namespaces", "/proc/sys/user/max_pid_namespaces", "namespaces of one user"),
        Setting("user.max_net_namespaces", "/proc/sys/user/max_net_namespaces", "namespaces of one user"),
        Setting("user.max_mnt_namespaces", "/proc/sys/user/max_mnt_namespaces", "namespaces of one user"),
        Setting("user.max_time_namespaces", "/proc/sys/user/max_time_namespaces", "namespaces of one user"),
        Setting("fs.mount-max", "/proc/sys/fs/mount-max", "mounts of one namespace"),
        Resource("RLIMIT_NOFILE", ResourceKind.OpenFiles, "descriptors of one process"),
        Resource("RLIMIT_NPROC", ResourceKind.Processes, "processes of one user"),
        Memory("MemTotal"),
        Memory("MemAvailable"),
    ];

    private static HostLimit Setting(string name, string path, string unit)
    {
        var errno = ProcFile.TryRead(path, out var text);
        ulong? value = errno == Errno.None && Utf8Parser.TryParse(text, out ulong number, out _) ? number : null;
        return new HostLimit(name, value, unit, path);
    }

    private static HostLimit Resource(string name, ResourceKind resource, string unit) =>
        new(name, Prlimit.Get(0, resource).Hard, unit, "prlimit64, hard limit of this process");

    // MemTotal:       24684096 kB
    private static HostLimit Memory(string name)
    {
        const string Path = "/proc/meminfo";
        ulong? value = null;
        foreach (var line in new Lines(ProcFile.Read(Path)))
        {
            var cursor = new TextCursor(line);
            if (!cursor.TrySkip(Encoding.ASCII.GetBytes(name + ':')))
                continue;
            cursor.SkipSpaces();
            value = cursor.TryDecimal(out var kib) ? kib : null;
        }
        return new HostLimit(name, value, "KiB", Path);
    }
}
