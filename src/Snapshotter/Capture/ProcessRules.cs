using System.Globalization;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Capture;

/// <summary>What a process as a whole may not be, or hold, to be snapshotted.</summary>
internal static class ProcessRules
{
    public static void Check(CaptureContext context)
    {
        var status = ProcStatus.Read(context.Pid);
        if (status.IsKernelThread)
            context.Refuse("process", "it is a kernel thread", "Name a process of a program.");
        if (status.SeccompMode != 0)
            context.Refuse("seccomp", "it runs under a seccomp filter", "Install filters after the worker is ready, in the clone.");
        CheckChildren(context);
        CheckNamespace(context, "user", "It must run in the farm's user namespace.");
        CheckNamespace(context, "time", "It must run in the farm's time namespace.");
        CheckMounts(context);
    }

    private static void CheckChildren(CaptureContext context)
    {
        foreach (var thread in Linux.Proc.Descriptors.Threads(context.Pid))
        {
            var children = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{context.Pid}/task/{thread}/children")).Split(' ', StringSplitOptions.RemoveEmptyEntries);
            foreach (var child in children)
                context.Refuse($"child {child}", $"it has a child process ({NameOf(child)})", "Let the worker end and reap its children before it is ready; process trees come with a later version.");
        }
    }

    private static string NameOf(string pid)
    {
        var stat = ProcStat.Read(int.Parse(pid, CultureInfo.InvariantCulture));
        return stat.State == 'Z' ? $"{stat.Name}, a zombie that nobody has waited for" : stat.Name;
    }

    private static void CheckNamespace(CaptureContext context, string kind, string cure)
    {
        if (Link(context.Pid, kind) is var theirs && theirs != Link(Environment.ProcessId, kind))
            context.Refuse($"{kind} namespace", $"it is another one ({theirs})", cure);
    }

    private static string Link(int pid, string kind)
    {
        var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/ns/{kind}");
        return ReadLink.Read(path, out var target) is var errno && errno == Errno.None ? target : throw new LinuxException("readlink", errno, path);
    }

    /// <summary>A clone sees a copy of the farm's mounts: the process must have seen the same, apart from its own /proc.</summary>
    private static void CheckMounts(CaptureContext context)
    {
        if (Link(context.Pid, "mnt") == Link(Environment.ProcessId, "mnt"))
            return;
        var theirs = Mounts(context.Pid);
        var ours = Mounts(Environment.ProcessId);
        foreach (var mount in theirs.Except(ours))
            context.Refuse("mount namespace", $"{mount} is mounted there and not for the farm", "Mount it for the farm too; container file systems come with a later version.");
        foreach (var mount in ours.Except(theirs))
            context.Refuse("mount namespace", $"{mount} is mounted for the farm and not there", "Run the worker with the farm's mounts; container file systems come with a later version.");
    }

    private static HashSet<string> Mounts(int pid) =>
        [.. MountInfo.Read(pid).Where(mount => mount.MountPoint != "/proc").Select(mount => $"{mount.Source} {mount.Root} on {mount.MountPoint} type {mount.FileSystem}")];
}
