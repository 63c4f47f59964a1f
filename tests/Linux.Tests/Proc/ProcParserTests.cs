using System.Text;
using CsCheck;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Linux.Tests.Proc;

public sealed class ProcParserTests
{
    [Theory]
    [InlineData("cat")]
    [InlineData("a) R 1 (b")]
    [InlineData(") ")]
    [InlineData("")]
    public void Stat_takes_any_name(string name)
    {
        var line = $"5745 ({name}) t 5741 5740 -1 0 -1 4194304 98 0 0 0 7 3 0 0 20 -5 12 0 219839 3133440 363 18446744073709551615 94398201319424 94398201339305 140734842499888 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 94398201355312 94398201356928 94398848790528 140734842501601 140734842501621 140734842501621 140734842503147 0\n";
        Assert.True(ProcStat.TryParse(Encoding.UTF8.GetBytes(line), out var stat));
        Assert.Equal((5745, name, 't', 5741, 5740, -1), (stat.Pid, stat.Name, stat.State, stat.ParentPid, stat.ProcessGroup, stat.Session));
        Assert.Equal((7u, 3u, -5, 12, 219839u), (stat.UserTicks, stat.SystemTicks, stat.Nice, stat.ThreadCount, stat.StartTimeTicks));
        Assert.Equal((94398201319424u, 94398201339305u, 140734842499888u), (stat.StartCode.Value, stat.EndCode.Value, stat.StartStack.Value));
        Assert.Equal((94398201355312u, 94398201356928u, 94398848790528u), (stat.StartData.Value, stat.EndData.Value, stat.StartBrk.Value));
        Assert.Equal((140734842501601u, 140734842501621u, 140734842501621u, 140734842503147u), (stat.ArgStart.Value, stat.ArgEnd.Value, stat.EnvStart.Value, stat.EnvEnd.Value));
        Assert.Equal(17, stat.ExitSignal);
    }

    [Fact]
    public void Stat_of_a_process_and_of_its_thread()
    {
        using var probe = PythonProbe.Start("""
            import threading
            libc.prctl(15, b'a) b (c', 0, 0, 0)
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            """);
        var stat = ProcStat.Read(probe.Pid);
        Assert.Equal("a) b (c", stat.Name);
        Assert.Equal(2, stat.ThreadCount);
        Assert.Equal(Environment.ProcessId, stat.ParentPid);
        var threads = Descriptors.Threads(probe.Pid);
        Assert.Equal(2, threads.Count);
        Assert.Equal(threads[1], ProcStat.Read(probe.Pid, threads[1]).Pid);
        Assert.Equal(threads[1], ProcStatus.Read(probe.Pid, threads[1]).Pid);
        Assert.Equal(probe.Pid, ProcStatus.Read(probe.Pid, threads[1]).ThreadGroupId);
    }

    [Fact]
    public void Status_takes_every_known_line_and_ignores_others()
    {
        const string Text = "Name:\ta\\nb\nUmask:\t0027\nState:\tT (stopped)\nTgid:\t9\nPid:\t10\nPPid:\t8\nTracerPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t4 20 24 \nNStgid:\t9\t2\nNSpid:\t10\t3\nNSpgid:\t9\t2\nNSsid:\t9\t0\n"
            + "VmRSS:\t    1668 kB\nVmPTE:\t      44 kB\nTHP_enabled:\t0\nThreads:\t11\nSigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000010000\nSigIgn:\t0000000001001000\nSigCgt:\tffffffff00000000\n"
            + "CapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\nCapBnd:\t0000000000000004\nCapAmb:\t0000000000000005\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nNovelty:\tx\n";
        Assert.True(ProcStatus.TryParse(Encoding.ASCII.GetBytes(Text), out var status));
        Assert.Equal(("a\nb", 0b010_111, 'T', 9, 10, 8, 7), (status.Name, status.Umask, status.State, status.ThreadGroupId, status.Pid, status.ParentPid, status.TracerPid));
        Assert.Equal([1u, 2u, 3u, 4u], status.Uids);
        Assert.Equal([5u, 6u, 7u, 8u], status.Gids);
        Assert.Equal([4u, 20u, 24u], status.Groups);
        Assert.Equal([9, 2], status.NamespaceThreadGroupIds);
        Assert.Equal([10, 3], status.NamespacePids);
        Assert.Equal([9, 2], status.NamespaceProcessGroups);
        Assert.Equal([9, 0], status.NamespaceSessions);
        Assert.Equal((1668u, 44u, false, 11), (status.VmRssKib, status.PageTablesKib, status.ThpEnabled, status.ThreadCount));
        Assert.Equal((1u, 2u, 0x10000u, 0x1001000u, 0xffffffff00000000), (status.PendingOfThread, status.PendingOfProcess, status.Blocked, status.Ignored, status.Caught));
        Assert.Equal((1u, 0x1ffffffffffu, 0x1fffeffffffu, 4u, 5u), (status.CapInheritable, status.CapPermitted, status.CapEffective, status.CapBounding, status.CapAmbient));
        Assert.Equal((true, 2, 3), (status.NoNewPrivileges, status.SeccompMode, status.SeccompFilterCount));
    }

    [Theory]
    [InlineData("Pid:\tx\n")]
    [InlineData("Pid:\t1\nUid:\t0\t0\n")]
    [InlineData("Pid:\t1\nSigBlk:\tzz\n")]
    [InlineData("Name:\tx\n")]
    public void Status_refuses_malformed_values(string text) => Assert.False(ProcStatus.TryParse(Encoding.ASCII.GetBytes(text), out _));

    [Fact]
    public void Status_knows_our_own_process()
    {
        var status = ProcStatus.Read(Environment.ProcessId);
        Assert.Equal(Environment.ProcessId, status.Pid);
        Assert.Equal(Environment.ProcessId, status.NamespacePids[0]);
        Assert.Equal(4, status.Uids.Count);
        Assert.True(status.VmRssKib > 1000);
    }

    [Fact]
    public void Mountinfo_with_optional_fields_escapes_and_an_empty_source()
    {
        Assert.True(MountInfo.TryParse("36 35 98:0 /mnt\\0401 /mnt2\\134x rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue"u8, out var mount));
        Assert.Equal((36, 35, 0x6200u, "/mnt 1", "/mnt2\\x"), (mount.MountId, mount.ParentId, mount.Device, mount.Root, mount.MountPoint));
        Assert.Equal(["master:1", "shared:7"], mount.OptionalFields);
        Assert.Equal(("ext3", "/dev/root", "rw,errors=continue", "rw,noatime"), (mount.FileSystem, mount.Source, mount.SuperOptions, mount.Options));
        Assert.True(MountInfo.TryParse("36 35 98:0 / /m rw - tmpfs  rw"u8, out var nameless));
        Assert.Equal(("", "rw"), (nameless.Source, nameless.SuperOptions));
        Assert.False(MountInfo.TryParse("36 35 98:0 / /m rw tmpfs none rw"u8, out _));
        Assert.Contains(MountInfo.Read(Environment.ProcessId), one => one is { MountPoint: "/proc", FileSystem: "proc" });
    }

    [Fact]
    public void Timers_of_every_kind()
    {
        const string Text = "ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\nID: 3\nsignal: 14/0000000000000003\nnotify: none/tid.99\nClockID: -6\nCreated: never\n";
        Assert.True(ProcTimers.TryParse(Encoding.ASCII.GetBytes(Text), out var timers));
        Assert.Equal([new ProcTimer(1, 60, 0x7fff86e452a8, 0, 2634, 0), new ProcTimer(3, 14, 3, 1 | 4, 99, -6)], timers);
        Assert.False(ProcTimers.TryParse("signal: 1/2\n"u8, out _));
        Assert.False(ProcTimers.TryParse("ID: 1\nnotify: carrier/pigeon.1\n"u8, out _));
    }

    [Fact]
    public void Timers_of_a_process()
    {
        using var probe = PythonProbe.Start("""
            id = ctypes.c_int()
            assert libc.syscall(222, 1, None, ctypes.byref(id)) == 0
            report['id'] = id.value
            """);
        var timer = Assert.Single(ProcTimers.Read(probe.Pid));
        Assert.Equal(new ProcTimer(probe.Fd("id"), 14, (ulong)probe.Fd("id"), 0, probe.Pid, 1), timer);
    }

    [Fact]
    public void Processor_flags_are_sorted()
    {
        Assert.Equal(["avx2", "fpu", "vme"], CpuInfo.ParseFlags("vendor_id\t: x\nflags\t\t: fpu vme avx2\nflags\t\t: other\n"u8));
        Assert.Empty(CpuInfo.ParseFlags("bogus\n"u8));
        Assert.Contains("sse2", CpuInfo.Flags());
    }

    [Fact]
    public void No_parser_throws_on_any_bytes()
    {
        // Pieces of real files in any order reach deeper than random bytes.
        string[] pieces = ["ID: ", "signal: ", "notify: ", "flags:\t", "tfd: ", "inotify wd:", "eventfd-count: ", "it_value: (", "Uid:\t", "Pid:\t", "NSpid:\t",
            "Rss: ", "VmFlags: ", "7f0-8f0 rw-p ", "-", ":", "(", ")", "/", "\\012", "18446744073709551616", "99999999999999999999", "ffff", "0", "-1", " ", "\t", "\n", ", ", "é", "f_handle:0"];
        var piece = Gen.Int[0, pieces.Length - 1].Select(index => pieces[index]);
        Gen.Select(piece.Array[0, 30], Gen.Byte.Array[0, 12]).Sample((chosen, noise) =>
        {
            byte[] text = [.. Encoding.UTF8.GetBytes(string.Concat(chosen)), .. noise];
            Maps.TryParse(text, out _);
            Smaps.TryParse(text, out _);
            SmapsRollup.Parse(text);
            ProcStat.TryParse(text, out _);
            ProcStatus.TryParse(text, out _);
            FdInfo.TryParse(text, out _);
            MountInfo.TryParse(text, out _);
            ProcTimers.TryParse(text, out _);
            CpuInfo.ParseFlags(text);
        }, iter: 5000);
    }
}
