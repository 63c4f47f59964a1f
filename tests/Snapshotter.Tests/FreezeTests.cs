using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.Snapshotter.Tests;

public sealed class FreezeTests
{
    private const string Worker = """
        import sys, threading
        table = bytearray(b'snapshot' * 131072)
        lock = threading.Lock(); lock.acquire()
        threading.Thread(target=lock.acquire, daemon=True).start()
        print('ready')
        for line in sys.stdin:
            print(line.strip(), table.count(b'snapshot'))
        """;

    [Fact]
    public void A_frozen_worker_runs_on_and_its_image_can_be_read()
    {
        using var target = TestTarget.Python(Worker);
        target.ReadLine();
        using var store = new TestStore();
        using var image = FreezeIt(target.Pid, store.Store, keepRunning: true);

        target.WriteLine("after");
        Assert.Equal("after 131072", target.ReadLine());

        var process = Assert.Single(image.Manifest.Processes);
        Assert.Equal((uint)target.Pid, process.Pid);
        Assert.Equal(2, process.Threads.Count);
        Assert.Equal("read", process.Threads[0].StoppedIn);
        Assert.Equal("futex", process.Threads[1].StoppedIn);
        Assert.Contains(process.Mappings, mapping => mapping.Kind == MappingKind.Vdso);
        Assert.Contains(process.Mappings, mapping => mapping.Label == "[heap]" && mapping.Extents.Count > 0);
        Assert.Contains(process.SignalActions, action => action is { Signal: 13, Handler: 1 }); // Python ignores SIGPIPE
        Assert.All(process.Threads, thread => Assert.NotEqual(0UL, thread.ClearChildTid));
        Assert.True(image.Manifest.Statistics.StoppedMicroseconds > 0);
        Assert.True(ContainsTable(image));
        image.VerifyPages();
    }

    [Fact]
    public void No_trace_of_the_freeze_stays_in_the_target()
    {
        using var target = TestTarget.Python(Worker);
        target.ReadLine();
        var before = File.ReadAllLines($"/proc/{target.Pid}/maps");
        using var store = new TestStore();
        using var image = FreezeIt(target.Pid, store.Store, keepRunning: true);
        Assert.Equal(before, File.ReadAllLines($"/proc/{target.Pid}/maps"));
        var ranges = image.Manifest.Processes[0].Mappings.Select(mapping => $"{mapping.Start:x}-").ToList();
        Assert.All(ranges, range => Assert.Contains(before, line => line.TrimStart('0').StartsWith(range, StringComparison.Ordinal)));
    }

    [Fact]
    public void Without_keep_running_it_is_killed_once_its_image_is_published()
    {
        using var target = TestTarget.Python(Worker);
        target.ReadLine();
        using var store = new TestStore();
        using var pidFd = Linux.Syscalls.Pidfd.Open(target.Pid);
        using var image = FreezeIt(target.Pid, store.Store, keepRunning: false);
        Assert.True(Linux.Syscalls.Poll.IsReadable(pidFd, TimeSpan.FromSeconds(10)), "the target still runs");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_image_that_cannot_be_published_leaves_the_target_running(bool keepRunning)
    {
        using var target = TestTarget.Python(Worker);
        target.ReadLine();
        using var store = new TestStore();
        Assert.Throws<ImageException>(() => FreezeIt(target.Pid, store.Store, keepRunning, name: "no/name"));
        Assert.Equal(0, Linux.Proc.ProcStatus.Read(target.Pid).TracerPid);
        target.WriteLine("after");
        Assert.Equal("after 131072", target.ReadLine());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_target_that_job_control_had_stopped_stays_stopped_when_nothing_is_published(bool keepRunning)
    {
        const int SIGSTOP = 19, SIGCONT = 18;
        using var target = TestTarget.Python(Worker);
        target.ReadLine();
        using var pidFd = Linux.Syscalls.Pidfd.Open(target.Pid);
        Assert.Equal(Linux.Errno.None, Linux.Syscalls.Pidfd.SendSignal(pidFd, SIGSTOP));
        Assert.True(SpinWait.SpinUntil(() => Linux.Proc.ProcStatus.Read(target.Pid).State == 'T', TimeSpan.FromSeconds(10)), "it did not stop");
        using var store = new TestStore();

        Assert.Throws<ImageException>(() => FreezeIt(target.Pid, store.Store, keepRunning, name: "no/name"));

        Assert.True(SpinWait.SpinUntil(() => Linux.Proc.ProcStatus.Read(target.Pid).State == 'T', TimeSpan.FromSeconds(10)), "it was set running");
        Assert.Equal(Linux.Errno.None, Linux.Syscalls.Pidfd.SendSignal(pidFd, SIGCONT));
        target.WriteLine("after");
        Assert.Equal("after 131072", target.ReadLine());
    }

    [Fact]
    public void A_refused_target_runs_on_and_everything_is_reported()
    {
        using var target = TestTarget.Python("""
            import mmap, os, subprocess, sys, tempfile
            child = subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            file = tempfile.TemporaryFile()
            named = tempfile.NamedTemporaryFile(dir='/var/tmp'); named.truncate(4096)
            shared = mmap.mmap(named.fileno(), 4096)
            print('ready')
            for line in sys.stdin:
                child.kill(); child.wait(); print(line.strip())
            """);
        target.ReadLine();
        using var store = new TestStore();
        var refusal = Assert.Throws<FreezeRefusedException>(() => FreezeIt(target.Pid, store.Store, keepRunning: true));
        Assert.Contains(refusal.Problems, problem => problem.Subject.StartsWith("child ", StringComparison.Ordinal));
        Assert.Contains(refusal.Problems, problem => problem.Subject.StartsWith("fd ", StringComparison.Ordinal));
        Assert.Contains(refusal.Problems, problem => problem.Subject.StartsWith("mapping ", StringComparison.Ordinal) && problem.What.Contains("writable shared", StringComparison.Ordinal));
        target.WriteLine("alive");
        Assert.Equal("alive", target.ReadLine());
    }

    /// <summary>It belongs to a thread, and it is one reason among others.</summary>
    [Fact]
    public void A_parent_death_signal_of_any_thread_is_refused_by_name()
    {
        using var target = TestTarget.Python("""
            import ctypes, subprocess, sys, threading
            libc = ctypes.CDLL(None)
            child = subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            libc.prctl(1, 15)
            done = threading.Event()
            def other():
                libc.prctl(1, 12); libc.prctl(15, b'other'); done.set(); threading.Event().wait()
            threading.Thread(target=other, daemon=True).start()
            done.wait()
            print('ready')
            for line in sys.stdin:
                child.kill(); child.wait(); print(line.strip())
            """);
        target.ReadLine();
        using var store = new TestStore();
        var refusal = Assert.Throws<FreezeRefusedException>(() => FreezeIt(target.Pid, store.Store, keepRunning: true));
        Assert.Contains(refusal.Problems, problem => problem.Subject.StartsWith("child ", StringComparison.Ordinal));
        Assert.Contains(refusal.Problems, problem => problem.Subject.StartsWith($"thread {target.Pid} ", StringComparison.Ordinal) && problem.What.Contains("signal 15 when its parent ends", StringComparison.Ordinal));
        Assert.Contains(refusal.Problems, problem => problem.Subject.EndsWith("(other)", StringComparison.Ordinal) && problem.What.Contains("signal 12 when its parent ends", StringComparison.Ordinal));
        target.WriteLine("alive");
        Assert.Equal("alive", target.ReadLine());
    }

    [Fact]
    public void Mappings_are_sorted_into_their_kinds()
    {
        using var target = TestTarget.Python("""
            import ctypes, mmap, os, sys
            memfd = os.memfd_create('view'); os.ftruncate(memfd, 16384)
            shared = mmap.mmap(memfd, 8192); shared[0:4] = b'view'
            private = mmap.mmap(memfd, 8192, flags=mmap.MAP_PRIVATE); private[4096:4100] = b'mine'
            anonymous = mmap.mmap(-1, 8192); anonymous[0:4] = b'anon'
            libc = ctypes.CDLL(None)
            libc.mmap.restype = ctypes.c_void_p
            guard = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, 0)
            ctypes.memset(guard, 7, 4096); libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(4096), 0)
            print(hex(guard)[2:])
            for line in sys.stdin: print(line.strip())
            """);
        var guard = Convert.ToUInt64(target.ReadLine(), 16);
        using var store = new TestStore();
        using var image = FreezeIt(target.Pid, store.Store, keepRunning: true);
        var mappings = image.Manifest.Processes[0].Mappings;
        var views = mappings.Where(mapping => mapping.Label.StartsWith("/memfd:view", StringComparison.Ordinal)).ToList();
        Assert.Contains(views, view => view.Kind == MappingKind.SharedMemory);
        var mine = Assert.Single(views, view => view.Kind == MappingKind.PrivateSharedMemory);
        Assert.Equal(1UL, Assert.Single(mine.Extents).PageIndex);
        var memfd = Assert.Single(image.Manifest.SharedMemory, shared => shared.Name == "view");
        Assert.Equal(16384UL, memfd.SizeBytes);
        Assert.Equal(1UL, Assert.Single(memfd.Extents).PageCount);
        Assert.Contains(image.Manifest.SharedMemory, shared => shared.Name == "zero");
        var page = Assert.Single(mappings, mapping => mapping.Start <= guard && guard < mapping.End);
        Assert.Equal(0U, page.Protection);
        var contents = new byte[4096];
        var extent = Assert.Single(page.Extents, extent => (page.Start + (extent.PageIndex * 4096)) <= guard && guard < page.Start + ((extent.PageIndex + extent.PageCount) * 4096));
        image.Pages.Read(extent.BlobOffset + guard - page.Start - (extent.PageIndex * 4096), contents);
        Assert.All(contents, octet => Assert.Equal(7, octet));
    }

    [Fact]
    public void What_is_no_process_is_refused()
    {
        using var store = new TestStore();
        Assert.Throws<FreezeRefusedException>(() => FreezeIt(Environment.ProcessId, store.Store, keepRunning: true));
        Assert.Throws<FreezeRefusedException>(() => FreezeIt(2, store.Store, keepRunning: true)); // kthreadd, or nobody
        Assert.Throws<FreezeRefusedException>(() => FreezeIt(int.MaxValue, store.Store, keepRunning: true));
    }

    private static SnapshotImage FreezeIt(int pid, ImageStore store, bool keepRunning, string name = "frozen")
    {
        using var writer = store.CreateWriter();
        var externals = new Dictionary<ObjectIdentity, ExternalRole>();
        for (var fd = 0; fd <= 2 && Directory.Exists($"/proc/{pid}/fd"); fd++)
        {
            if (FileStatus.At($"/proc/{pid}/fd/{fd}", followLast: true, out var status) == Linux.Errno.None)
                externals.TryAdd(new ObjectIdentity(status.Device, status.Inode), (ExternalRole)(fd + 1));
        }

        var manifest = new Manifest { Host = new HostFingerprint(), Readiness = new Images.V1.Readiness { Immediate = true } };
        var result = Freeze.Run(new FreezeTarget { Pid = pid, Externals = externals, KeepRunning = keepRunning, Manifest = manifest }, writer, name);
        return store.OpenImage(result.Digest.ToString());
    }

    private static bool ContainsTable(SnapshotImage image)
    {
        var pages = new byte[image.Pages.LengthBytes];
        image.Pages.Read(0, pages);
        var table = new byte[64 * 1024];
        for (var i = 0; i < table.Length; i++)
            table[i] = (byte)"snapshot"[i % 8];
        return pages.AsSpan().IndexOf(table) >= 0;
    }
}
