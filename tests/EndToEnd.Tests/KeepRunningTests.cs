using System.Diagnostics;
using Snapshots.Linux.Proc;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

public class KeepRunningTests
{
    /// <summary>The worker outlives create in its sandbox; with it ends the process that holds its stdio, and nothing of either stays.</summary>
    [Fact]
    public void A_worker_that_was_launched_runs_on_in_the_background()
    {
        using var farm = new Farm();
        var created = farm.ExecuteJson("create", "kept", "--keep-running", "--", "python3", "-c", """
            import os
            channel = int(os.environ["SNAPSHOTS_CHANNEL"])
            os.write(channel, b"ready\n")
            while line := os.read(channel, 4096):
                os.write(channel, b"mine\n")
            """);
        var pid = created.GetProperty("worker_pid").GetInt32();
        Assert.Contains("python3", File.ReadAllText($"/proc/{pid}/cmdline"), StringComparison.Ordinal);

        var clone = Assert.Single(farm.Clone("kept", 1));
        Assert.NotEqual(pid, clone.GetProperty("pid").GetInt32());
        Assert.True(Directory.Exists($"/proc/{pid}"), "the worker ended with its clone");
        farm.KillAll();

        var holder = ProcStatus.Read(pid).ParentPid;
        var family = Leftovers.DescendantsOf(holder);
        Assert.True(family.Count >= 2, "the worker and the init of its sandbox descend from their holder");
        using (var worker = Process.GetProcessById(pid))
            worker.Kill();
        Farm.Await("the worker, its sandbox and its holder to be gone", () => !Directory.Exists($"/proc/{holder}") && !Leftovers.Alive().Overlaps(family));
    }
}
