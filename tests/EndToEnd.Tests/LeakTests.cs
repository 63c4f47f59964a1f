using Snapshots.Linux.Proc;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>Nothing is left of clones that ended or were killed, nor of an agent that was stopped.</summary>
public class LeakTests
{
    /// <summary>Reads its request and never ends by itself.</summary>
    private static readonly Worker Waiting = new("channel", ["python3", "-c", """
        import os, time
        channel = int(os.environ["SNAPSHOTS_CHANNEL"])
        os.write(channel, b"ready\n")
        os.read(channel, 4096)
        time.sleep(1000)
        """]);

    [Fact]
    public void Clones_leave_nothing_behind()
    {
        using var farm = new Farm();
        farm.Create("shell", Workers.Example("shell"));
        farm.Create("waiting", Waiting);
        Launch(farm); // the templates and the pool are there afterwards, and stay
        Settle(farm);
        var before = Leftovers.Of(farm.AgentPid);

        var clones = new HashSet<(int Pid, ulong Start)>();
        for (var round = 0; round < 3; round++)
            clones.UnionWith(Launch(farm));

        Leftovers after = before;
        Farm.Await($"all to be as before, {before}", () => (after = Leftovers.Of(farm.AgentPid)).IsWithin(before));
        Assert.False(Leftovers.Alive().Overlaps(clones), "a clone is alive");
        Assert.Empty(farm.Processes());
    }

    [Fact]
    public void A_stopped_agent_takes_everything_with_it()
    {
        var mounts = File.ReadAllText("/proc/self/mountinfo");
        using var farm = new Farm();
        farm.Create("waiting", Waiting);
        _ = farm.Clone("waiting", 20);
        var inside = Leftovers.DescendantsOf(farm.AgentPid);
        Assert.True(inside.Count >= 20, $"{inside.Count} processes descend from the agent");

        farm.Stop();

        Farm.Await("all descendants to be gone", () => !Leftovers.Alive().Overlaps(inside));
        Assert.False(File.Exists(Path.Combine(farm.Run, "farm.sock")), "the socket is left");
        Assert.Equal(mounts, File.ReadAllText("/proc/self/mountinfo"));
    }

    /// <summary>Nobody is left to end them: templates, parked clones and sandboxes notice it themselves.</summary>
    [Fact]
    public void A_killed_agent_takes_everything_with_it()
    {
        using var farm = new Farm("--parked", "6");
        farm.Create("waiting", Waiting);
        _ = farm.Clone("waiting", 3);
        var inside = Leftovers.DescendantsOf(farm.AgentPid);
        Farm.Await("clones to be parked", () => (inside = Leftovers.DescendantsOf(farm.AgentPid)).Count >= 3 + 6);

        using (var agent = System.Diagnostics.Process.GetProcessById(farm.AgentPid))
            agent.Kill();

        Farm.Await("all descendants to be gone", () => !Leftovers.Alive().Overlaps(inside));
    }

    [Fact]
    public void A_clone_that_is_killed_takes_its_children_with_it()
    {
        using var farm = new Farm();
        farm.Create("children", new Worker("channel", ["python3", "-c", """
            import os, time
            channel = int(os.environ["SNAPSHOTS_CHANNEL"])
            os.write(channel, b"ready\n")
            os.read(channel, 4096)
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(1000)
            os.write(channel, b"{}\n")
            time.sleep(1000)
            """]));
        var template = farm.Clone("children", 1).Single().GetProperty("pid").GetInt32();
        Farm.Await("the clone's children", () => Leftovers.DescendantsOf(template).Count == 3);
        var family = Leftovers.DescendantsOf(template);

        farm.KillAll();

        Farm.Await("the children to be gone", () => !Leftovers.Alive().Overlaps(family));
    }

    /// <summary>Half of them end by themselves; the others, which are returned, are killed while they sleep.</summary>
    private static HashSet<(int Pid, ulong Start)> Launch(Farm farm)
    {
        Assert.All(farm.CloneAndWait("shell", Enumerable.Range(0, 20).Select(key => $"{{\"key\":{key}}}")), row => Assert.Equal(0, row.GetProperty("exit_code").GetInt32()));
        var clones = farm.Clone("waiting", 20).Select(row => row.GetProperty("pid").GetInt32()).Select(pid => (pid, ProcStat.Read(pid).StartTimeTicks)).ToHashSet();
        farm.KillAll();
        return clones;
    }

    /// <summary>The pool is filled again in the background: waits until the agent looks the same twice in a row.</summary>
    private static void Settle(Farm farm)
    {
        var last = Leftovers.Of(farm.AgentPid);
        var same = 0;
        Farm.Await("the agent to come to rest", () =>
        {
            Thread.Sleep(100);
            var now = Leftovers.Of(farm.AgentPid);
            same = now == last ? same + 1 : 0;
            last = now;
            return same >= 5;
        });
    }
}
