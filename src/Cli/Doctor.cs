using System.Globalization;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Linux;

namespace Snapshots.Cli;

/// <summary>Judges what <see cref="KernelFeatures"/> and <see cref="HostLimits"/> found: what is it needed for, is it enough, what to do.</summary>
internal static class Doctor
{
    public const string Ok = "ok";

    /// <summary>Some workers cannot be snapshotted, or clones are slower.</summary>
    public const string Limited = "limited";

    /// <summary>Nothing works without it.</summary>
    public const string Missing = "missing";

    /// <summary>Descriptors that the agent holds for each clone: stdout, stderr, channel, pidfd of clone and sandbox, socket of the sandbox, logs.</summary>
    private const ulong DescriptorsPerClone = 10;

    /// <summary>Processes of an idle clone: its first process and the init of its sandbox.</summary>
    private const ulong ProcessesPerClone = 2;

    private const ulong MemoryPerCloneKib = 1536;

    public static IReadOnlyList<CheckRow> Examine(string storeDirectory)
    {
        var features = KernelFeatures.Probe();
        return
        [
            new CheckRow("kernel", Ok, features.Release, "everything", null),
            .. Privileges(features),
            .. Features(features),
            .. Limits(HostLimits.Read()),
            Store(storeDirectory),
        ];
    }

    private static IEnumerable<CheckRow> Privileges(KernelFeatures features)
    {
        yield return Needed(features.Privilege(Capability.SystemAdministration), "namespaces of clones, setns", "run as root, or grant CAP_SYS_ADMIN");
        yield return Needed(features.Privilege(Capability.SystemPtrace), "freezing processes, reading their memory", "run as root, or grant CAP_SYS_PTRACE");
        yield return Needed(features.Privilege(Capability.CheckpointRestore), "clones with their original pids, map_files, PR_SET_MM_MAP", "run as root, or grant CAP_CHECKPOINT_RESTORE (Linux 5.9)");
        yield return Needed(features.Privilege(Capability.NetworkAdministration), "lo up in the network namespace of each clone", "run as root, or grant CAP_NET_ADMIN");
        yield return Wanted(features.Privilege(Capability.SystemTime), "clones whose clocks go on where they stood", "run as root, or grant CAP_SYS_TIME; or give clones the host's clocks with --host-clocks");
        yield return Wanted(features.Privilege(Capability.SystemResource), "workers whose hard limits are above ours", "grant CAP_SYS_RESOURCE, or lower the worker's limits");
    }

    private static IEnumerable<CheckRow> Features(KernelFeatures features)
    {
        yield return Needed(features.PagemapScan, "finding the pages that belong to a process", "Linux 6.7 or later");
        yield return Needed(features.SetTid, "clones with their original pids", "Linux 5.5 or later, and CAP_CHECKPOINT_RESTORE");
        yield return Needed(features.PidfdGetfd, "looking at descriptors of a frozen process", "Linux 5.6 or later; a seccomp filter may forbid it");
        foreach (var family in features.SockDiag)
            yield return Wanted(family, "workers with sockets of this family", "load the kernel's *_diag modules (CONFIG_UNIX_DIAG, CONFIG_INET_DIAG, CONFIG_NETLINK_DIAG)");
        yield return Wanted(features.MembarrierRegistrations, "workers that use membarrier (.NET)", "Linux 6.3 or later");
        yield return Wanted(features.TimerRestoreIds, "workers with POSIX timers", "Linux 6.15 or later");
        yield return Wanted(features.Collapse, "fast forks of large templates", "Linux 6.1 or later, transparent huge pages on");
        yield return Wanted(features.HugePages, "fast forks of large templates", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
        yield return Wanted(features.Userfaultfd, "starting clones of large snapshots before their memory is loaded", "run with CAP_SYS_PTRACE; without it snapshots are loaded whole");
    }

    private static IEnumerable<CheckRow> Limits(IReadOnlyList<HostLimit> limits)
    {
        foreach (var limit in limits)
        {
            yield return limit.Name switch
            {
                "kernel.pid_max" or "kernel.threads-max" or "RLIMIT_NPROC" => PerClone(limit, ProcessesPerClone, "two processes for each clone, and one for each further thread"),
                "fs.nr_open" or "RLIMIT_NOFILE" => PerClone(limit, DescriptorsPerClone, $"{DescriptorsPerClone} descriptors of the agent for each clone"),
                "fs.file-max" => PerClone(limit, DescriptorsPerClone * 2, "open files of agent and clones"),
                "user.max_pid_namespaces" or "user.max_net_namespaces" or "user.max_mnt_namespaces" or "user.max_time_namespaces" => PerClone(limit, 1, "one namespace for each clone"),
                "MemAvailable" => PerClone(limit, MemoryPerCloneKib, "1.5 MiB for each idle clone of a worker with 100 MB"),
                "fs.inotify.max_user_instances" => Plain(limit, "workers with inotify: instances of all clones of one user together"),
                "vm.max_map_count" => Plain(limit, "workers with many mappings"),
                _ => Plain(limit, "information"),
            };
        }
    }

    private static CheckRow Store(string directory)
    {
        var existing = directory;
        while (!Directory.Exists(existing))
            existing = Path.GetDirectoryName(existing) ?? "/";
        var drive = new DriveInfo(existing);
        return new CheckRow("image store", Ok, $"{directory}, {Units.Bytes(drive.AvailableFreeSpace)} free", "images: each about as large as its worker's memory", null);
    }

    private static CheckRow Needed(KernelFeature feature, string use, string cure) => Judge(feature, Missing, use, cure);

    private static CheckRow Wanted(KernelFeature feature, string use, string cure) => Judge(feature, Limited, use, cure);

    private static CheckRow Judge(KernelFeature feature, string otherwise, string use, string cure) =>
        feature.Available ? new CheckRow(feature.Name, Ok, feature.Detail, use, null) : new CheckRow(feature.Name, otherwise, feature.Detail, use, cure);

    private static CheckRow PerClone(HostLimit limit, ulong perClone, string use)
    {
        const ulong WantedClones = 1000;
        if (limit.Value is not { } value || limit.IsUnlimited)
            return Plain(limit, use);
        var clones = value / perClone;
        return new CheckRow(
            limit.Name,
            clones >= WantedClones ? Ok : Limited,
            string.Create(CultureInfo.InvariantCulture, $"{value} {limit.Unit}: about {clones} clones"),
            use,
            clones >= WantedClones ? null : $"raise {limit.Name} for more than {clones} clones");
    }

    private static CheckRow Plain(HostLimit limit, string use) =>
        new(limit.Name, Ok, limit switch { { Value: null } => "absent", { IsUnlimited: true } => "unlimited", _ => string.Create(CultureInfo.InvariantCulture, $"{limit.Value} {limit.Unit}") }, use, null);
}
