using System.Reflection;
using System.Runtime.InteropServices;
using Snapshots.Linux.Netlink;
using Snapshots.Linux.Syscalls;
using Xunit;

namespace Snapshots.Linux.Tests.Layouts;

/// <summary>Structures and offsets of ours against the compiler's. A new explicit layout in the Linux room fails until it has a row in <see cref="Structs"/>.</summary>
public sealed class StructLayoutTests
{
    /// <param name="SizeInC">When it is not the size of the whole C structure, which may have grown since.</param>
    private sealed record StructRow(string Type, string C, (string Field, string CField)[] Fields, string? SizeInC = null);

    private static readonly StructRow[] Structs =
    [
        new(nameof(Clone3Arguments), "struct clone_args",
        [
            ("Flags", "flags"), ("Pidfd", "pidfd"), ("ChildTid", "child_tid"), ("ParentTid", "parent_tid"), ("ExitSignal", "exit_signal"), ("Stack", "stack"),
            ("StackSize", "stack_size"), ("Tls", "tls"), ("SetTid", "set_tid"), ("SetTidSize", "set_tid_size"), ("Cgroup", "cgroup"),
        ]),
        new(nameof(PagemapScan.ScanArgument), "struct pm_scan_arg",
        [
            ("Size", "size"), ("Flags", "flags"), ("Start", "start"), ("End", "end"), ("WalkEnd", "walk_end"), ("Vector", "vec"), ("VectorLength", "vec_len"),
            ("MaxPages", "max_pages"), ("CategoryInverted", "category_inverted"), ("CategoryMask", "category_mask"),
            ("CategoryAnyOfMask", "category_anyof_mask"), ("ReturnMask", "return_mask"),
        ]),
        new(nameof(PagemapScan.PageRegion), "struct page_region", [("Start", "start"), ("End", "end"), ("Categories", "categories")]),
        new(nameof(ResourceLimits), "struct rlimit64", [("_soft", "rlim_cur"), ("_hard", "rlim_max")]),
        new("RseqConfiguration", "struct ptrace_rseq_configuration",
            [("Address", "rseq_abi_pointer"), ("LengthBytes", "rseq_abi_size"), ("Signature", "signature"), ("Flags", "flags")]),
        new("PeekArguments", "struct ptrace_peeksiginfo_args", [("Offset", "off"), ("Flags", "flags"), ("Count", "nr")]),
        new("SchedAttr", "struct sched_attr",
            [("Size", "size"), ("Policy", "sched_policy"), ("Flags", "sched_flags"), ("Nice", "sched_nice"), ("Priority", "sched_priority")], "SCHED_ATTR_SIZE_VER0"),
        new("EpollEvent", "struct epoll_event", [("Events", "events"), ("Key", "data")]),
    ];

    /// <summary>Offsets and sizes that the sources use as numbers, and enumerations.</summary>
    private static readonly (long Ours, string C)[] Numbers =
    [
        (NetlinkSocket.HeaderBytes, "sizeof(struct nlmsghdr)"),
        (NetlinkSocket.AttributeHeaderBytes, "sizeof(struct nlattr)"),
        (4, "offsetof(struct nlmsghdr, nlmsg_type)"),
        (6, "offsetof(struct nlmsghdr, nlmsg_flags)"),
        (8, "offsetof(struct nlmsghdr, nlmsg_seq)"),
        (12, "offsetof(struct nlmsghdr, nlmsg_pid)"),
        (SockDiag.UnixRequestBytes, "sizeof(struct unix_diag_req)"),
        (4, "offsetof(struct unix_diag_req, udiag_states)"),
        (12, "offsetof(struct unix_diag_req, udiag_show)"),
        (UnixSocketInfo.MessageBytes, "sizeof(struct unix_diag_msg)"),
        (1, "offsetof(struct unix_diag_msg, udiag_type)"),
        (2, "offsetof(struct unix_diag_msg, udiag_state)"),
        (4, "offsetof(struct unix_diag_msg, udiag_ino)"),
        (0x1f, "UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN"),
        (0, "UNIX_DIAG_NAME"),
        (1, "UNIX_DIAG_VFS"),
        (2, "UNIX_DIAG_PEER"),
        (3, "UNIX_DIAG_ICONS"),
        (4, "UNIX_DIAG_RQLEN"),
        (6, "UNIX_DIAG_SHUTDOWN"),
        (4, "offsetof(struct unix_diag_vfs, udiag_vfs_dev)"),
        (4, "offsetof(struct unix_diag_rqlen, udiag_wqueue)"),
        (SockDiag.InetRequestBytes, "sizeof(struct inet_diag_req_v2)"),
        (4, "offsetof(struct inet_diag_req_v2, idiag_states)"),
        (InetSocketInfo.MessageBytes, "sizeof(struct inet_diag_msg)"),
        (4, "offsetof(struct inet_diag_msg, id.idiag_sport)"),
        (6, "offsetof(struct inet_diag_msg, id.idiag_dport)"),
        (8, "offsetof(struct inet_diag_msg, id.idiag_src)"),
        (24, "offsetof(struct inet_diag_msg, id.idiag_dst)"),
        (40, "offsetof(struct inet_diag_msg, id.idiag_if)"),
        (56, "offsetof(struct inet_diag_msg, idiag_rqueue)"),
        (60, "offsetof(struct inet_diag_msg, idiag_wqueue)"),
        (68, "offsetof(struct inet_diag_msg, idiag_inode)"),
        (SockDiag.NetlinkRequestBytes, "sizeof(struct netlink_diag_req)"),
        (8, "offsetof(struct netlink_diag_req, ndiag_show)"),
        (2, "NDIAG_SHOW_GROUPS"),
        (NetlinkSocketInfo.MessageBytes, "sizeof(struct netlink_diag_msg)"),
        (1, "offsetof(struct netlink_diag_msg, ndiag_type)"),
        (2, "offsetof(struct netlink_diag_msg, ndiag_protocol)"),
        (4, "offsetof(struct netlink_diag_msg, ndiag_portid)"),
        (8, "offsetof(struct netlink_diag_msg, ndiag_dst_portid)"),
        (16, "offsetof(struct netlink_diag_msg, ndiag_ino)"),
        ((long)InetProtocol.Tcp, "IPPROTO_TCP"),
        ((long)InetProtocol.Udp, "IPPROTO_UDP"),
        ((long)SocketState.Established, "TCP_ESTABLISHED"),
        ((long)SocketState.TimeWait, "TCP_TIME_WAIT"),
        ((long)SocketState.Closed, "TCP_CLOSE"),
        ((long)SocketState.Listening, "TCP_LISTEN"),
        ((long)SocketState.Closing, "TCP_CLOSING"),
        ((long)Capability.NetworkAdministration, "CAP_NET_ADMIN"),
        ((long)Capability.SystemPtrace, "CAP_SYS_PTRACE"),
        ((long)Capability.SystemAdministration, "CAP_SYS_ADMIN"),
        ((long)Capability.SystemResource, "CAP_SYS_RESOURCE"),
        ((long)Capability.CheckpointRestore, "CAP_CHECKPOINT_RESTORE"),
        ((long)ResourceKind.Stack, "RLIMIT_STACK"),
        ((long)ResourceKind.OpenFiles, "RLIMIT_NOFILE"),
        ((long)ResourceKind.Processes, "RLIMIT_NPROC"),
        ((long)ResourceKind.LockedMemory, "RLIMIT_MEMLOCK"),
        ((long)ResourceKind.RealTimeTime, "RLIMIT_RTTIME"),
        // What other rooms write into a process by number.
        (56, "sizeof(struct msghdr)"),
        (16, "sizeof(struct cmsghdr)"),
        (40, "offsetof(struct msghdr, msg_controllen)"),
        (32, "sizeof(struct itimerspec)"),
        (16, "offsetof(struct itimerspec, it_value)"),
        (64, "sizeof(struct sigevent)"),
        (216, "sizeof(struct user_regs_struct)"),
        (168, "offsetof(struct user_regs_struct, fs_base)"),
        (176, "offsetof(struct user_regs_struct, gs_base)"),
        (104, "sizeof(struct prctl_mm_map)"),
        (12, "sizeof(struct epoll_event)"),
        (40, "sizeof(struct ifreq)"),
        (16, "offsetof(struct ifreq, ifr_flags)"),
        (144, "sizeof(struct stat)"),
        (128, "sizeof(siginfo_t)"),
        (336, "sizeof(posix_spawnattr_t)"),
        (80, "sizeof(posix_spawn_file_actions_t)"),
        (128, "sizeof(sigset_t)"),
        (108, "sizeof(((struct sockaddr_un *)0)->sun_path)"),
    ];

    [Fact]
    public void Structures_have_the_sizes_and_offsets_of_the_kernels()
    {
        var expected = new List<(long Ours, string C)>();
        foreach (var type in Layouts())
        {
            var row = RowOf(type);
            expected.Add((SizeOf(type), row.SizeInC ?? $"sizeof({row.C})"));
            foreach (var (field, cField) in row.Fields)
                expected.Add((OffsetOf(type, field), $"offsetof({row.C}, {cField})"));
        }
        AssertAll(expected);
    }

    [Fact]
    public void Numbers_used_as_offsets_and_sizes_are_the_kernels() => AssertAll(Numbers);

    [Fact]
    public void Every_explicit_layout_has_a_row_and_every_field_of_it_too()
    {
        Assert.NotEmpty(Layouts());
        foreach (var type in Layouts())
            Assert.Equal(Fields(type).Select(field => field.Name).Order(), RowOf(type).Fields.Select(field => field.Field).Order());
    }

    private static IEnumerable<Type> Layouts() => typeof(Errno).Assembly.GetTypes().Where(IsLayout);

    private static StructRow RowOf(Type type)
    {
        var row = Structs.SingleOrDefault(row => row.Type == type.Name);
        Assert.True(row is not null, $"{type} has no row in {nameof(Structs)}");
        return row;
    }

    private static bool IsLayout(Type type) => type is { IsValueType: true, IsExplicitLayout: true } && !type.Name.StartsWith('_') && !type.Name.Contains('<', StringComparison.Ordinal);

    private static IEnumerable<FieldInfo> Fields(Type type) => type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);

    // Also what a stackalloc or a pointer steps by, which StructLayoutAttribute.Size alone does not prove.
    private static long SizeOf(Type type) =>
        (int)typeof(System.Runtime.CompilerServices.Unsafe).GetMethod("SizeOf")!.MakeGenericMethod(type).Invoke(null, null)!;

    private static long OffsetOf(Type type, string field) =>
        Fields(type).Single(candidate => candidate.Name == field).GetCustomAttribute<FieldOffsetAttribute>()!.Value;

    private static void AssertAll(IReadOnlyList<(long Ours, string C)> expected)
    {
        var values = CompiledC.Evaluate([.. expected.Select(row => (row.C, (string?)null))]);
        Assert.Equal(expected.Select(row => $"{row.C} = {row.Ours}"), expected.Zip(values, (row, value) => $"{row.C} = {value}"));
    }
}
