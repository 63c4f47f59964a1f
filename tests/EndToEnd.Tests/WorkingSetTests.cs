using Xunit;

namespace Snapshots.EndToEnd.Tests;

public class WorkingSetTests
{
    /// <summary>What the first clones touched is kept with the snapshot, and an agent that is started later begins with it.</summary>
    [Fact]
    public void A_working_set_is_recorded_shown_and_removed_with_its_snapshot()
    {
        using var farm = new Farm();
        farm.Create("table", Workers.Example("python"));
        Assert.Equal(3, farm.Execute("inspect", "table", "--working-set").ExitCode);

        var payloads = Enumerable.Range(1, 6).Select(key => $"{{\"key\":{key}}}");
        Farm.Await("a working set", () =>
        {
            Assert.All(farm.CloneAndWait("table", payloads), clone => Assert.Equal(0, clone.GetProperty("exit_code").GetInt32()));
            return farm.Execute("inspect", "table", "--working-set").ExitCode == 0;
        });

        var set = farm.ExecuteJson("inspect", "table", "--working-set").GetProperty("working_set");
        Assert.Equal(3, set.GetProperty("clones").GetInt32());
        Assert.InRange(set.GetProperty("written_bytes").GetInt64(), 64 << 10, 8 << 20);
        Assert.Contains(set.GetProperty("ranges").EnumerateArray(), range => range.GetProperty("kind").GetString() == "file");
        Assert.Single(Directory.GetFiles(Path.Combine(farm.Store, "working-sets")));

        farm.Execute("rm", "table").MustSucceed();
        Assert.Empty(Directory.GetFiles(Path.Combine(farm.Store, "working-sets")));
    }
}
