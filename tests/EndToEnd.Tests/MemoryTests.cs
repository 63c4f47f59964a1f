using System.Globalization;
using System.Text.Json;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>docs/memory.md through the command line.</summary>
public class MemoryTests
{
    private const int WrittenMebibytes = 12;
    private const int Parked = 2;

    /// <summary>Pages of libraries change hands, or get another user, whenever a program of the machine comes or goes: the one that asks is one.</summary>
    private const int LibrariesKib = 128;

    /// <summary>Writes on request and then stands still, so that it can be read twice.</summary>
    private static readonly Worker Writer = new("channel", ["python3", "-c", $$"""
        import os, signal
        channel = int(os.environ["SNAPSHOTS_CHANNEL"])
        table = bytearray(os.urandom(1 << 20)) * 24
        os.write(channel, b"ready\n")
        os.read(channel, 4096)
        for at in range(0, {{WrittenMebibytes}} << 20, 4096):
            table[at] ^= 1
        os.kill(os.getpid(), signal.SIGSTOP)
        """]);

    /// <summary>Waits for the file that its payload names, and says what it finds there.</summary>
    private static readonly Worker Waiter = new("channel", ["python3", "-c", """
        import json, os
        channel = int(os.environ["SNAPSHOTS_CHANNEL"])
        table = os.urandom(4 << 20)
        os.write(channel, b"ready\n")
        path = json.loads(os.read(channel, 4096))["payload"]
        print(open(path).read(), len(table), flush=True)
        """]);

    [Fact]
    public void What_ps_says_of_a_clone_is_what_the_kernel_says()
    {
        using var farm = new Farm("--parked", $"{Parked}");
        farm.Create("writer", Writer);
        var clones = farm.Clone("writer", 3).Select(row => row.GetProperty("pid").GetInt32()).ToList();
        Farm.Await("the clones to have written", () => clones.TrueForAll(pid => ProcStat.Read(pid).State == 'T'));
        _ = Settled(farm);

        var before = clones.ToDictionary(pid => pid, Kernel);
        var rows = farm.Processes();
        var after = clones.ToDictionary(pid => pid, Kernel);

        Assert.Equal(clones.Order(), rows.Select(row => row.GetProperty("pid").GetInt32()).Order());
        foreach (var row in rows)
        {
            var pid = row.GetProperty("pid").GetInt32();
            foreach (var (name, low) in before[pid])
                Assert.InRange(Number(row, name), Math.Min(low, after[pid][name]) - LibrariesKib, Math.Max(low, after[pid][name]) + LibrariesKib);
            Assert.True(Number(row, "private_kib") >= WrittenMebibytes * 1024);
            Assert.Equal(Number(row, "private_kib"), Number(row, "private_clean_kib") + Number(row, "private_dirty_kib"));
            Assert.Equal(1, Number(row, "processes"));
            Assert.Equal(before[pid]["page_tables_kib"], Number(row, "page_tables_kib"));
        }
        var text = farm.Execute("ps").MustSucceed().Output;
        Assert.All(new[] { "PSS", "PRIVATE", "SHARED", "PAGE TABLES" }, heading => Assert.Contains(heading, text, StringComparison.Ordinal));
    }

    [Fact]
    public void Template_parked_and_live_clones_add_up_in_templates_and_in_inspect()
    {
        using var farm = new Farm("--parked", $"{Parked}");
        farm.Create("writer", Writer);
        var before = farm.ExecuteJson("inspect", "writer");
        Assert.False(before.TryGetProperty("memory", out _), "nothing of it is in memory yet");
        var clones = farm.Clone("writer", 2).Select(row => row.GetProperty("pid").GetInt32()).ToList();
        Farm.Await("the clones to have written", () => clones.TrueForAll(pid => ProcStat.Read(pid).State == 'T'));

        var template = Settled(farm);

        Assert.Equal(("writer", before.GetProperty("snapshot").GetProperty("digest").GetString()), (template.GetProperty("snapshot").GetString(), template.GetProperty("digest").GetString()));
        Assert.Equal((2, 2), (template.GetProperty("clone_count").GetInt32(), (int)Number(template.GetProperty("clones"), "processes")));
        var total = template.GetProperty("total");
        Assert.Equal(1 + Parked + 2, Number(total, "processes"));
        foreach (var name in new[] { "pss_kib", "private_kib", "page_tables_kib" })
            Assert.Equal(Number(total, name), new[] { "template", "parked", "clones" }.Sum(part => Number(template.GetProperty(part), name)));
        // What is there: the template once, what the clones have written, and little beside it.
        var expected = Number(template.GetProperty("template"), "resident_kib") + (2 * WrittenMebibytes * 1024);
        Assert.InRange(Number(total, "pss_kib"), expected, expected + (16 * 1024));
        Assert.InRange(Number(template.GetProperty("template"), "resident_kib"), 24 * 1024, 40 * 1024);

        var memory = farm.ExecuteJson("inspect", "writer").GetProperty("memory");
        Assert.Equal(template.EnumerateObject().Select(property => property.Name), memory.EnumerateObject().Select(property => property.Name));
        Assert.InRange(Number(memory.GetProperty("total"), "pss_kib"), expected, expected + (16 * 1024));
        var text = farm.Execute("inspect", "writer").MustSucceed().Output;
        Assert.Contains("MEMORY", text, StringComparison.Ordinal);
        Assert.Contains($"{Parked} parked", text, StringComparison.Ordinal);
        Assert.Contains("2 clones alive", text, StringComparison.Ordinal);
    }

    [Fact]
    public void With_a_tiny_budget_one_template_stays_and_clones_of_the_other_live_on()
    {
        using var farm = new Farm("--template-memory", "1MiB", "--parked", "1");
        farm.Create("one", Waiter);
        farm.Create("two", Waiter with { Environment = new Dictionary<string, string> { ["WHICH"] = "two" } });
        var path = Path.Combine(farm.Home, "answer");
        ProgramRun.Execute(["mkfifo", path], TimeSpan.FromSeconds(10)).MustSucceed();

        var clone = farm.ExecuteJson("clone", "one", "--payload", JsonSerializer.Serialize(path))[0].GetProperty("id").GetString()!;
        Assert.Equal(["one"], Resident(farm));
        var waiting = farm.ExecuteJson("clone", "two", "--payload", "\"/dev/null\"", "--wait")[0];
        Assert.Equal(0, waiting.GetProperty("exit_code").GetInt32());
        Assert.Equal(["two"], Resident(farm));
        Assert.Equal((1 << 20, "one"), (farm.ExecuteJson("templates").GetProperty("budget_bytes").GetInt32(), Assert.Single(farm.Processes()).GetProperty("snapshot").GetString()));

        File.WriteAllText(path, "still here");
        var logs = farm.Execute("logs", clone, "--follow").MustSucceed();
        Assert.Contains($"still here {4 << 20}", logs.Output, StringComparison.Ordinal);
        Assert.Equal(0, farm.ExecuteJson("clone", "one", "--payload", "\"/dev/null\"", "--wait")[0].GetProperty("exit_code").GetInt32());
        Assert.Equal(["one"], Resident(farm));
        var said = string.Join('\n', farm.AgentErrors);
        Assert.Matches(@"the template of one \(sha256:\w+\) has [\d.]+ MiB, more than the 1 MiB of all templates", said);
        Assert.Matches(@"dropped the template of one \(sha256:\w+\) for memory: [\d.]+ MiB, unused for [\d.]+ s", said);
        Assert.Matches(@"dropped the template of two ", said);
    }

    [Fact]
    public void A_budget_in_the_environment_that_is_no_size_is_refused()
    {
        using var farm = new Farm();
        var run = ProgramRun.Execute(
            [.. farm.ProgramIn(Path.Combine(farm.Home, "other")), "serve"],
            TimeSpan.FromSeconds(60),
            new Dictionary<string, string> { ["SNAPSHOTS_TEMPLATE_MEMORY"] = "plenty" });
        Assert.Equal(2, run.ExitCode);
        Assert.Contains("SNAPSHOTS_TEMPLATE_MEMORY is \"plenty\"", run.Errors, StringComparison.Ordinal);
    }

    /// <summary>The only template, once as many clones are parked as should be.</summary>
    private static JsonElement Settled(Farm farm)
    {
        JsonElement template = default;
        Farm.Await("the parked clones", () =>
        {
            template = Assert.Single(farm.ExecuteJson("templates").GetProperty("templates").EnumerateArray());
            return template.GetProperty("parked_count").GetInt32() == Parked && !template.GetProperty("in_use").GetBoolean();
        });
        return template;
    }

    private static List<string?> Resident(Farm farm) =>
        [.. farm.ExecuteJson("templates").GetProperty("templates").EnumerateArray().Select(template => template.GetProperty("snapshot").GetString())];

    private static Dictionary<string, long> Kernel(int pid)
    {
        var lines = File.ReadLines($"/proc/{pid}/smaps_rollup").Concat(File.ReadLines($"/proc/{pid}/status")).ToList();
        long Field(string name) =>
            long.Parse(lines.First(line => line.StartsWith(name + ':', StringComparison.Ordinal)).Split(':')[1].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture);
        return new Dictionary<string, long>
        {
            ["pss_kib"] = Field("Pss"),
            ["private_kib"] = Field("Private_Clean") + Field("Private_Dirty"),
            ["shared_kib"] = Field("Shared_Clean") + Field("Shared_Dirty"),
            ["page_tables_kib"] = Field("VmPTE"),
        };
    }

    private static long Number(JsonElement row, string name) => row.GetProperty(name).GetInt64();
}
