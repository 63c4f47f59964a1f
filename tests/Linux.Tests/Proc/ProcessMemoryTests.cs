using System.Globalization;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Linux.Tests.Proc;

public sealed class ProcessMemoryTests
{
    private const int TableKib = 32 * 1024;

    /// <summary>A process that has written a table, and a child of it that shares all of it but for a quarter that it has written itself, and that stands still.</summary>
    private const string ParentAndChild = """
        table = bytearray(b'x') * (32 << 20)
        child = os.fork()
        if child == 0:
            libc.prctl(1, 9, 0, 0, 0)
            for at in range(0, len(table) // 4, 4096):
                table[at] = 1
            os.kill(os.getpid(), 19)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        report['child'] = child
        """;

    [Fact]
    public void Counts_what_the_kernel_counts()
    {
        using var probe = PythonProbe.Start(ParentAndChild);
        var child = probe.Fd("child");
        // Its parent still writes a page or two on its way to sleep, which makes the child's of them private.
        var before = Fields(child);
        var memory = ProcessMemory.TryRead(child)!.Value;
        var after = Fields(child);
        ulong[] read = [memory.ResidentKib, memory.PssKib, memory.SharedKib, memory.PrivateKib, memory.HugeKib, memory.PageTablesKib];
        // What is shared, and with how many, depends on who else maps the same libraries, and other processes of this machine come and go.
        ulong[] slack = [0, 1024, 1024, 1024, 0, 0];
        Assert.All(read.Select((value, index) => (value, index)), one =>
            Assert.InRange(one.value + slack[one.index], Math.Min(before[one.index], after[one.index]), Math.Max(before[one.index], after[one.index]) + (2 * slack[one.index])));
        Assert.Equal(1, memory.Processes);
        Assert.InRange(memory.PrivateKib, TableKib / 4u, TableKib / 2u);
        Assert.True(memory.SharedKib > TableKib / 2);
        Assert.Equal(memory.ResidentKib, memory.SharedKib + memory.PrivateKib);
    }

    [Fact]
    public void Together_the_users_of_a_page_have_it_once()
    {
        using var probe = PythonProbe.Start(ParentAndChild);
        var sum = ProcessMemory.Sum([probe.Pid, probe.Fd("child"), int.MaxValue]);
        Assert.Equal(2, sum.Processes);
        // The table, the child's copy of a quarter, and a Python that shares its libraries with others of this machine.
        const int Once = TableKib + (TableKib / 4);
        Assert.InRange(sum.PssKib, (ulong)Once, Once + (24u * 1024));
        Assert.True(sum.ResidentKib > Once + (TableKib / 2));
    }

    [Fact]
    public void A_process_that_has_ended_has_none()
    {
        Assert.Null(ProcessMemory.TryRead(int.MaxValue));
        using var probe = PythonProbe.Start("""
            report['zombie'] = os.fork()
            if report['zombie'] == 0:
                os._exit(0)
            os.waitid(os.P_PID, report['zombie'], os.WEXITED | os.WNOWAIT)
            """);
        Assert.Null(ProcessMemory.TryRead(probe.Fd("zombie")));
    }

    [Fact]
    public void Descendants_are_found_whichever_thread_made_them()
    {
        using var probe = PythonProbe.Start("""
            import threading
            read, write = os.pipe()
            report['children'] = []
            def fork():
                child = os.fork()
                if child == 0:
                    os.write(write, b'%d ' % os.fork())
                    sys.stdin.read()
                    os._exit(0)
                report['children'].append(child)
            fork()
            def in_thread():
                fork()
                time.sleep(600)
            threading.Thread(target=in_thread, daemon=True).start()
            text = b''
            while len([pid for pid in text.split() if pid != b'0']) < 2:
                text += os.read(read, 100)
            report['grandchildren'] = [int(pid) for pid in text.split() if pid != b'0']
            while len(report['children']) < 2:
                time.sleep(0.01)
            """);
        var children = Pids(probe, "children");
        Assert.Equal(children, ChildProcesses.Of(probe.Pid).Order());
        Assert.Equal(children.Concat(Pids(probe, "grandchildren")).Order(), ChildProcesses.DescendantsOf(probe.Pid).Order());
        Assert.Empty(ChildProcesses.Of(int.MaxValue));
    }

    private static List<int> Pids(PythonProbe probe, string name) =>
        [.. probe.Report.GetProperty(name).EnumerateArray().Select(pid => pid.GetInt32()).Order()];

    private static ulong[] Fields(int pid)
    {
        var lines = File.ReadLines($"/proc/{pid}/smaps_rollup").Concat(File.ReadLines($"/proc/{pid}/status")).ToList();
        ulong Sum(params string[] names) => names.Aggregate(0UL, (sum, name) =>
            sum + ulong.Parse(lines.First(line => line.StartsWith(name + ':', StringComparison.Ordinal)).Split(':')[1].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture));
        return [Sum("Rss"), Sum("Pss"), Sum("Shared_Clean", "Shared_Dirty"), Sum("Private_Clean", "Private_Dirty"), Sum("AnonHugePages"), Sum("VmPTE")];
    }
}
