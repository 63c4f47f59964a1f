using System.Text.Json;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>What real workers take in the store, and that they come back from it by every way.</summary>
public class StoreTests
{
    [Fact]
    public void A_worker_is_stored_in_little_and_ten_of_its_kind_in_little_more()
    {
        using var farm = new Farm();
        // Python lays out its tables by a seed, which is the store's: with one of their own each they would share less than half.
        var worker = Workers.Example("python") with { Environment = new Dictionary<string, string> { ["TABLE_MB"] = "30" } };
        farm.Create("w0", worker);
        var one = farm.ExecuteJson("df").GetProperty("stored_bytes").GetDouble();
        var resident = farm.ExecuteJson("inspect", "w0").GetProperty("snapshot").GetProperty("resident_bytes").GetDouble();
        Assert.True(one <= 0.35 * resident, $"{one} bytes stored of {resident} resident");
        for (var i = 1; i < 10; i++)
            farm.Create($"w{i}", worker);
        var ten = farm.ExecuteJson("df");
        Assert.True(ten.GetProperty("stored_bytes").GetDouble() <= 1.5 * one, $"one takes {one} bytes; ten take {ten}");
        Assert.Equal(10, ten.GetProperty("snapshots").GetArrayLength());
        Assert.Empty(farm.ExecuteJson("fsck").GetProperty("problems").EnumerateArray());
        Assert.Equal(41, AnsweredKey(farm, "w9"));
    }

    [Fact]
    public void A_worker_that_was_exported_removed_and_imported_answers()
    {
        using var farm = new Farm();
        farm.Create("worker", Workers.Example("shell"));
        var file = Path.Combine(farm.Home, "worker.snapshot");
        var digest = farm.ExecuteJson("export", "worker", file).GetProperty("digest").GetString();
        farm.Execute("rm", "worker").MustSucceed();
        Assert.Equal(0, farm.ExecuteJson("gc").GetProperty("removed_files").GetInt32());
        Assert.Equal(digest, farm.ExecuteJson("import", file, "--name", "moved").GetProperty("digest").GetString());
        Assert.Equal(41, AnsweredKey(farm, "moved"));
    }

    [Fact]
    public void A_damaged_pack_fails_the_clone_and_fsck_says_what_is_lost()
    {
        using var farm = new Farm();
        farm.Create("worker", Workers.Example("shell"));
        var pack = Assert.Single(Directory.GetFiles(Path.Combine(farm.Store, "domains", "default", "packs")));
        using (var file = File.OpenWrite(pack))
        {
            file.Position = file.Length / 2;
            file.Write(new byte[64]);
        }
        var clone = farm.Execute("clone", "worker");
        Assert.Equal(5, clone.ExitCode);
        Assert.Contains(pack, clone.Errors, StringComparison.Ordinal);
        Assert.Equal(5, farm.Execute("fsck").ExitCode);
        var repair = farm.Execute("--json", "fsck", "--repair");
        Assert.Equal("worker", JsonDocument.Parse(repair.Output).RootElement.GetProperty("lost")[0].GetString());
        farm.Execute("fsck").MustSucceed();
        Assert.Empty(farm.ExecuteJson("ls").EnumerateArray());
    }

    private static long AnsweredKey(Farm farm, string name) =>
        JsonDocument.Parse(farm.CloneAndWait(name, ["{\"key\":41}"])[0].GetProperty("answer").GetString()!).RootElement.GetProperty("key").GetInt64();
}
