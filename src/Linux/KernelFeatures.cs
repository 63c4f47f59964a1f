using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Linux.Netlink;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Linux;

/// <summary>One thing the kernel can or cannot do for us.</summary>
/// <param name="Name">The interface or privilege, as its man page calls it.</param>
/// <param name="Detail">What was seen: an error, a version, a setting.</param>
public sealed record KernelFeature(string Name, bool Available, string Detail);

/// <summary>What the running kernel offers and allows this process, asked once. Asking changes nothing and leaves nothing behind.</summary>
public sealed class KernelFeatures
{
    private static readonly Lazy<KernelFeatures> Probed = new(() => new KernelFeatures());

    private KernelFeatures()
    {
        Release = Encoding.ASCII.GetString(ProcFile.Read("/proc/sys/kernel/osrelease")).Trim();
        PagemapScan = FeatureProbes.PagemapScan();
        SetTid = FeatureProbes.SetTid();
        Collapse = FeatureProbes.Collapse();
        Userfaultfd = FeatureProbes.Userfaultfd();
        PidfdGetfd = FeatureProbes.PidfdGetfd();
        TimerRestoreIds = FeatureProbes.TimerRestoreIds();
        MembarrierRegistrations = FeatureProbes.MembarrierRegistrations();
        HugePages = FeatureProbes.HugePages();
        SockDiag = FeatureProbes.SockDiag();
        Privileges = [.. Enum.GetValues<Capability>().Select(FeatureProbes.Privilege)];
    }

    /// <summary>The answers for this process; the first call asks.</summary>
    public static KernelFeatures Probe() => Probed.Value;

    /// <summary>As <c>uname -r</c>.</summary>
    public string Release { get; }

    /// <summary>PAGEMAP_SCAN (Linux 6.7).</summary>
    public KernelFeature PagemapScan { get; }

    /// <summary>clone3 with set_tid (Linux 5.5), which needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.</summary>
    public KernelFeature SetTid { get; }

    /// <summary>process_madvise with MADV_COLLAPSE (Linux 6.1).</summary>
    public KernelFeature Collapse { get; }

    public KernelFeature Userfaultfd { get; }

    /// <summary>pidfd_getfd (Linux 5.6).</summary>
    public KernelFeature PidfdGetfd { get; }

    /// <summary>PR_TIMER_CREATE_RESTORE_IDS (Linux 6.15).</summary>
    public KernelFeature TimerRestoreIds { get; }

    /// <summary>MEMBARRIER_CMD_GET_REGISTRATIONS (Linux 6.3).</summary>
    public KernelFeature MembarrierRegistrations { get; }

    /// <summary>Transparent huge pages where asked for.</summary>
    public KernelFeature HugePages { get; }

    /// <summary>One for each socket family.</summary>
    public IReadOnlyList<KernelFeature> SockDiag { get; }

    /// <summary>One for each <see cref="Capability"/>.</summary>
    public IReadOnlyList<KernelFeature> Privileges { get; }

    /// <summary>Everything above, for printing.</summary>
    public IReadOnlyList<KernelFeature> All =>
        [PagemapScan, SetTid, Collapse, Userfaultfd, PidfdGetfd, TimerRestoreIds, MembarrierRegistrations, HugePages, .. SockDiag, .. Privileges];

    public KernelFeature Privilege(Capability capability) => Privileges.First(feature => feature.Name == Capabilities.NameOf(capability));
}

/// <summary>How each feature is asked for.</summary>
internal static unsafe class FeatureProbes
{
    private const long SelfPidfdFlags = 0;

    public static KernelFeature PagemapScan()
    {
        try
        {
            using var scan = Syscalls.PagemapScan.Open(Environment.ProcessId);
            scan.Scan(AddressRange.FromLength(new VirtualAddress(PageSize.HugeBytes), PageSize.Bytes), PageCategories.Present, 0, 0);
            return new KernelFeature("PAGEMAP_SCAN", true, "page contents are found by range");
        }
        catch (LinuxException refused)
        {
            return new KernelFeature("PAGEMAP_SCAN", false, refused.Message);
        }
    }

    // Asks for our own pid, which is taken: a kernel that can and may chooses to answer EEXIST, and no process is made.
    public static KernelFeature SetTid()
    {
        const int SIGCHLD = 17;
        var wanted = Environment.ProcessId;
        var arguments = new Clone3Arguments { ExitSignal = SIGCHLD, SetTid = (ulong)&wanted, SetTidSize = 1 };
        var result = RawSyscall.Call(SyscallNumber.Clone3, (long)&arguments, sizeof(Clone3Arguments));
        if (result == 0)
            RawSyscall.Call(SyscallNumber.ExitGroup, 0);
        var errno = RawSyscall.ErrnoOf(result);
        return Feature("clone3 set_tid", errno == Errno.EEXIST ? Errno.None : errno, "processes can be given their pid");
    }

    public static KernelFeature Collapse()
    {
        const long PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22;
        const long Length = 2 * (long)PageSize.HugeBytes;
        var mapped = RawSyscall.Call(SyscallNumber.Mmap, 0, Length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
        if (mapped < 0)
            return Feature("process_madvise MADV_COLLAPSE", RawSyscall.ErrnoOf(mapped), "");
        var start = new VirtualAddress((ulong)mapped).AlignUp(PageSize.HugeBytes);
        // A page must exist for the range to be worth collapsing.
        *(byte*)start.Value = 1;
        using var self = Pidfd.Open(Environment.ProcessId);
        var errno = ProcessMadvise.Collapse(self, AddressRange.FromLength(start, PageSize.HugeBytes));
        RawSyscall.Call(SyscallNumber.Munmap, mapped, Length);
        // Out of huge pages at this moment is no lack of the feature.
        return Feature("process_madvise MADV_COLLAPSE", errno is Errno.ENOMEM or Errno.EAGAIN ? Errno.None : errno, "templates can be folded into huge pages");
    }

    public static KernelFeature Userfaultfd()
    {
        const long O_CLOEXEC = 0x80000;
        return CloseAndReport("userfaultfd", RawSyscall.Call(SyscallNumber.Userfaultfd, O_CLOEXEC), "missing pages can be filled on demand");
    }

    public static KernelFeature PidfdGetfd()
    {
        using var self = Pidfd.Open(Environment.ProcessId);
        using var borrowed = new BorrowedDescriptor(self);
        var result = RawSyscall.Call(SyscallNumber.PidfdGetfd, borrowed.Number, borrowed.Number, SelfPidfdFlags);
        return CloseAndReport("pidfd_getfd", result, "descriptors of another process can be looked at");
    }

    public static KernelFeature TimerRestoreIds()
    {
        const long PR_TIMER_CREATE_RESTORE_IDS = 77, Get = 2;
        var result = RawSyscall.Call(SyscallNumber.Prctl, PR_TIMER_CREATE_RESTORE_IDS, Get);
        return Feature("PR_TIMER_CREATE_RESTORE_IDS", RawSyscall.ErrnoOf(result), "POSIX timers come back under their ids");
    }

    public static KernelFeature MembarrierRegistrations()
    {
        const long MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9;
        var result = RawSyscall.Call(SyscallNumber.Membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS);
        return Feature("MEMBARRIER_CMD_GET_REGISTRATIONS", RawSyscall.ErrnoOf(result), "membarrier registrations can be read");
    }

    public static KernelFeature HugePages()
    {
        const string Path = "/sys/kernel/mm/transparent_hugepage/enabled";
        // always [madvise] never
        var errno = ProcFile.TryRead(Path, out var text);
        var setting = errno == Errno.None ? Encoding.ASCII.GetString(text).Trim() : $"{Path}: {errno}";
        return new KernelFeature("transparent huge pages", errno == Errno.None && !setting.Contains("[never]", StringComparison.Ordinal), setting);
    }

    public static IReadOnlyList<KernelFeature> SockDiag() =>
    [
        Diag("sock_diag unix", diag => diag.UnixSockets().Count),
        Diag("sock_diag inet tcp", diag => diag.InetSockets(false, InetProtocol.Tcp).Count),
        Diag("sock_diag inet udp", diag => diag.InetSockets(false, InetProtocol.Udp).Count),
        Diag("sock_diag inet6 tcp", diag => diag.InetSockets(true, InetProtocol.Tcp).Count),
        Diag("sock_diag inet6 udp", diag => diag.InetSockets(true, InetProtocol.Udp).Count),
        Diag("sock_diag netlink", diag => diag.NetlinkSockets().Count),
    ];

    public static KernelFeature Privilege(Capability capability)
    {
        var has = Capabilities.Has(capability);
        return new KernelFeature(Capabilities.NameOf(capability), has, has ? "held" : "not in the effective set of this process");
    }

    private static KernelFeature Diag(string name, Func<SockDiag, int> list)
    {
        try
        {
            using var diag = Netlink.SockDiag.Open();
            return new KernelFeature(name, true, $"{list(diag)} sockets listed");
        }
        catch (LinuxException refused)
        {
            return new KernelFeature(name, false, refused.Message);
        }
    }

    private static KernelFeature CloseAndReport(string name, long result, string detail)
    {
        if (result >= 0)
            RawSyscall.Call(SyscallNumber.Close, result);
        return Feature(name, RawSyscall.ErrnoOf(result), detail);
    }

    private static KernelFeature Feature(string name, Errno errno, string detail) =>
        new(name, errno == Errno.None, errno == Errno.None ? detail : $"{errno} ({ErrnoText.Describe(errno)})");
}
