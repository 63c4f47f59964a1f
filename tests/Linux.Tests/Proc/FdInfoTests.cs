using System.Text;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Linux.Tests.Proc;

public sealed class FdInfoTests
{
    private const string Head = "pos:\t5\nflags:\t02004002\nmnt_id:\t15\nino:\t1058\n";

    [Fact]
    public void Takes_the_lines_that_every_descriptor_has()
    {
        var info = Parse("");
        Assert.Equal((5L, 0x802u, true, 15, 1058u), (info.Position, info.StatusFlags, info.CloseOnExec, info.MountId, info.Inode));
        Assert.Null(info.EventFd);
        Assert.Null(info.TimerFd);
        Assert.Null(info.SignalMask);
        Assert.Empty(info.EpollTargets);
    }

    [Fact]
    public void Takes_each_special_file()
    {
        Assert.Equal(new EventFdInfo(0x5a, true), Parse("eventfd-count:               5a\neventfd-id: 3\neventfd-semaphore: 1\n").EventFd);
        Assert.Equal(new EventFdInfo(ulong.MaxValue - 1, false), Parse("eventfd-count: fffffffffffffffe\n").EventFd);
        Assert.Equal([new EpollTarget(5, 0x1d, ulong.MaxValue, 0x61af, 0x1a00), new EpollTarget(7, 0x80000001, 7, 0, 0)],
            Parse("tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:1a00000\ntfd:        7 events: 80000001 data:                7\n").EpollTargets);
        Assert.Equal(new TimerFdInfo { Clock = 1, Ticks = 3, SettimeFlags = 1, ValueNanoseconds = 2_049_406_829, IntervalNanoseconds = 1_000_000_000 },
            Parse("clockid: 1\nticks: 3\nsettime flags: 01\nit_value: (2, 49406829)\nit_interval: (1, 0)\n").TimerFd);
        Assert.Equal(0x800000000000a002ul, Parse("sigmask:\t800000000000a002\n").SignalMask);
        Assert.Equal(-1, Parse("Pid:\t-1\nNSpid:\t-1\n").PidfdPid);
        Assert.Equal(2, Parse("scm_fds: 2\n").DescriptorsInQueue);
        Assert.Equal("1: POSIX  ADVISORY  WRITE 1234 00:2d:1234 0 EOF", Assert.Single(Parse("lock:\t1: POSIX  ADVISORY  WRITE 1234 00:2d:1234 0 EOF\n").Locks));
        var mark = Assert.Single(Parse("inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d\n").InotifyMarks);
        Assert.Equal((3, 0x9e7eu, 0x813u, 0x800afceu, 1), (mark.WatchDescriptor, mark.Inode, mark.Device, mark.Mask, mark.HandleType));
        Assert.Equal([0x7e, 0x9e, 0, 0, 0x64, 0x0d, 0x1b, 0x6d], mark.Handle);
    }

    [Theory]
    [InlineData("eventfd-count: zz\n")]
    [InlineData("it_value: (1, 1000000000)\n")]
    [InlineData("tfd: 5 data: 1\n")]
    [InlineData("inotify wd:1 ino:2 sdev:3 ignored_mask:4\n")]
    [InlineData("inotify wd:1 ino:2 sdev:3 mask:4 f_handle:123\n")]
    public void Refuses_malformed_values(string lines) => Assert.False(FdInfo.TryParse(Encoding.ASCII.GetBytes(Head + lines), out _));

    [Fact]
    public void Refuses_a_text_without_flags() => Assert.False(FdInfo.TryParse("pos:\t0\n"u8, out _));

    [Fact]
    public void Reads_descriptors_of_a_process()
    {
        using var probe = PythonProbe.Start("""
            import tempfile
            event = os.eventfd(7, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
            epoll = select.epoll()
            epoll.register(event, select.EPOLLIN | select.EPOLLET)
            timer = libc.timerfd_create(1, 0)
            spec = (ctypes.c_long * 4)(2, 500, 3600, 0)
            assert libc.timerfd_settime(timer, 0, spec, None) == 0
            mask = (ctypes.c_ulong * 16)(0x4000)
            signal = libc.signalfd(-1, mask, 0)
            watch = libc.inotify_init1(0)
            directory = tempfile.mkdtemp()
            wd = libc.inotify_add_watch(watch, directory.encode(), 0x100)
            stat = os.stat(directory)
            file = os.open('/proc/self/comm', os.O_RDONLY)
            os.lseek(file, 3, 0)
            pidfd = os.pidfd_open(os.getppid())
            report.update(event=event, epoll=epoll.fileno(), timer=timer, signal=signal, watch=watch, wd=wd, ino=stat.st_ino, dev=stat.st_dev, file=file, pidfd=pidfd, directory=directory)
            """);
        try
        {
            Assert.Equal(new EventFdInfo(7, true), FdInfo.Read(probe.Pid, probe.Fd("event")).EventFd);
            var target = Assert.Single(FdInfo.Read(probe.Pid, probe.Fd("epoll")).EpollTargets);
            Assert.Equal((probe.Fd("event"), 0x80000001u), (target.Fd, target.Events & 0x80000001u));
            var timer = FdInfo.Read(probe.Pid, probe.Fd("timer")).TimerFd!;
            Assert.Equal((1, 2_000_000_500ul), (timer.Clock, timer.IntervalNanoseconds));
            Assert.InRange(timer.ValueNanoseconds, 3_500_000_000_000ul, 3_600_000_000_000ul);
            Assert.Equal(0x4000u, FdInfo.Read(probe.Pid, probe.Fd("signal")).SignalMask);
            var mark = Assert.Single(FdInfo.Read(probe.Pid, probe.Fd("watch")).InotifyMarks);
            Assert.Equal((probe.Fd("wd"), probe.Number("ino"), probe.Number("dev"), 0x100u), (mark.WatchDescriptor, mark.Inode, mark.Device, mark.Mask & 0xfff));
            Assert.Equal(3, FdInfo.Read(probe.Pid, probe.Fd("file")).Position);
            Assert.Equal(Environment.ProcessId, FdInfo.Read(probe.Pid, probe.Fd("pidfd")).PidfdPid);
            Assert.Contains(Descriptors.Read(probe.Pid), link => link.Fd == probe.Fd("epoll") && link.Target == "anon_inode:[eventpoll]");
            Assert.Equal(Errno.ENOENT, Assert.Throws<LinuxException>(() => FdInfo.Read(probe.Pid, 9999)).Errno);
        }
        finally
        {
            Directory.Delete(probe.Report.GetProperty("directory").GetString()!);
        }
    }

    private static FdInfo Parse(string lines)
    {
        Assert.True(FdInfo.TryParse(Encoding.ASCII.GetBytes(Head + lines), out var info));
        return info;
    }
}
