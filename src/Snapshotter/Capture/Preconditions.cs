using System.Globalization;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Finds what stands against a snapshot of a whole process: relations to other processes and to namespaces, and how its threads differ.</summary>
internal sealed class Preconditions(CaptureContext context, StoppedProcess process)
{
    private readonly int _pid = process.Pid;

    public void Check()
    {
        CheckChildren();
        CheckThreads();
        CheckUserNamespace();
        CheckMounts();
    }

    private void CheckChildren()
    {
        foreach (var child in process.Threads.SelectMany(thread => ChildrenOf(thread.Tid)))
        {
            if (StatusOf(child) is not { } status)
                continue; // it ended meanwhile, and the target wants to hear of no child's end
            if (status.State == 'Z')
                context.Refuse($"child {child} ({status.Name})", "it ended and waits for its exit status to be read", "Wait for it (waitpid(2)) before the worker is ready.");
            else
                context.Refuse($"child {child} ({status.Name})", "snapshots hold one process", "End child processes before the worker is ready, or use threads.");
        }
    }

    private static ProcStatus? StatusOf(int pid)
    {
        try
        {
            return ProcStatus.Read(pid);
        }
        catch (LinuxException gone) when (gone.Errno == Errno.ESRCH)
        {
            return null;
        }
    }

    private IEnumerable<int> ChildrenOf(int tid) =>
        System.Text.Encoding.ASCII.GetString(ProcFile.Read($"/proc/{_pid}/task/{tid}/children"))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(text => int.Parse(text, CultureInfo.InvariantCulture));

    private void CheckThreads()
    {
        var main = ProcStatus.Read(_pid, _pid);
        foreach (var thread in process.Threads)
        {
            var status = ProcStatus.Read(_pid, thread.Tid);
            var subject = $"thread {thread.Tid} ({status.Name})";
            if (status.SeccompMode != 0)
                context.Refuse(subject, "a seccomp filter is installed", "Install filters after the restore, or run the worker without them.");
            if (!SameCredentials(main, status))
                context.Refuse(subject, "its credentials differ from those of the main thread", "Change credentials in all threads alike, as setuid(3) of the C library does.");
            if (thread == process.MainThread)
                continue;
            var (files, fileSystem) = Kcmp.ShareTables(process.MainThread.Tid, thread.Tid);
            if (!files || !fileSystem)
                context.Refuse(subject, "it has a descriptor table or working directory of its own (unshare(2))", "Run the worker without unshare(CLONE_FILES) and unshare(CLONE_FS).");
        }
    }

    private static bool SameCredentials(ProcStatus left, ProcStatus right) =>
        left.Uids.SequenceEqual(right.Uids)
        && left.Gids.SequenceEqual(right.Gids)
        && left.Groups.SequenceEqual(right.Groups)
        && (left.CapInheritable, left.CapPermitted, left.CapEffective, left.CapBounding, left.CapAmbient)
            == (right.CapInheritable, right.CapPermitted, right.CapEffective, right.CapBounding, right.CapAmbient)
        && left.NoNewPrivileges == right.NoNewPrivileges;

    private void CheckUserNamespace()
    {
        if (!SharesNamespace("user"))
            context.Refuse("user namespace", "it is not the farm's", "Run the worker in the user namespace of the farm, or launch it with `snapshots create`.");
    }

    /// <summary>A clone gets a copy of the farm's mounts with its own /proc; what the target sees must be the same.</summary>
    private void CheckMounts()
    {
        if (SharesNamespace("mnt"))
            return;
        var ours = MountsOf(Environment.ProcessId);
        var theirs = MountsOf(_pid);
        foreach (var mount in theirs.Except(ours).Where(mount => !IsSocketOfClone(mount.MountPoint, mount.Root, mount.FileSystem)))
            context.Refuse($"mount {mount.MountPoint}", $"the farm does not have it ({mount.FileSystem})", "Run the worker in the mount namespace of the farm, or launch it with `snapshots create`.");
        foreach (var mount in ours.Except(theirs))
            context.Refuse($"mount {mount.MountPoint}", $"the worker does not see it, but clones would ({mount.FileSystem})", "Run the worker in the mount namespace of the farm, or launch it with `snapshots create`.");
    }

    /// <summary>A clone has each of its sockets with a path mounted there, out of a file system of its own; its own clones get theirs in the same way.</summary>
    private bool IsSocketOfClone(string mountPoint, string root, string fileSystem) =>
        fileSystem == "tmpfs" && root == mountPoint
        && FileStatus.At($"/proc/{_pid}/root{mountPoint}", followLast: false, out var status) == Errno.None && status.IsSocket;

    private static HashSet<(string MountPoint, string Root, ulong Device, string FileSystem)> MountsOf(int pid) =>
        [.. MountInfo.Read(pid)
            .Where(mount => mount.MountPoint != "/proc" && !mount.MountPoint.StartsWith("/proc/", StringComparison.Ordinal))
            .Select(mount => (mount.MountPoint, mount.Root, mount.Device, mount.FileSystem))];

    private bool SharesNamespace(string kind) => NamespaceOf(Environment.ProcessId, kind) == NamespaceOf(_pid, kind);

    private static string NamespaceOf(int pid, string kind)
    {
        var errno = ReadLink.Read($"/proc/{pid}/ns/{kind}", out var target);
        return errno == Errno.None ? target : throw new LinuxException("readlink", errno, $"/proc/{pid}/ns/{kind}");
    }
}
