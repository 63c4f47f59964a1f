using System.Text.Json;
using Google.Protobuf;
using Snapshots.Bench;
using Snapshots.Cli.Json;
using Snapshots.Client.V1;

namespace Snapshots.Cli.Tests;

/// <summary>What programs read: names in JSON do not change.</summary>
public sealed class ShapeTests
{
    [Fact]
    public void Percentiles_are_those_of_what_was_recorded()
    {
        var recorder = new LatencyRecorder();
        for (var i = 1; i <= 1000; i++)
            recorder.Add(i);
        var summary = recorder.Required();
        Assert.Equal(1000, summary.Count);
        Assert.Equal(500, summary.Median, tolerance: 1);
        Assert.Equal(900, summary.P90, tolerance: 2);
        Assert.Equal(990, summary.P99, tolerance: 2);
        Assert.Equal(999, summary.P999, tolerance: 2);
        Assert.Null(new LatencyRecorder().Summarise());
    }

    [Fact]
    public void Bench_prints_the_names_that_are_promised()
    {
        var latency = new LatencySummary(1, 2, 3, 4, 5);
        var phases = new BenchPhases(latency, latency, latency, latency, latency, latency);
        var onDemand = new BenchClones(latency, latency, phases, 0.8);
        var report = new BenchReport("web", "sha256:0", new BenchFloors(latency, latency), latency, latency, latency, phases, 0.5, 1, onDemand, 50, 300, 1200, 900, 20, 2, 1000);
        var root = JsonSerializer.SerializeToElement(report, CliJsonContext.Default.BenchReport);
        foreach (var path in new[] { "floors.posix_spawn_true", "floors.fork_same_size", "cold_start_first_answer", "clone_running", "clone_first_answer", "phases.order", "phases.fork", "phases.sandbox", "phases.descriptors", "phases.threads", "phases.finish", "on_demand.clone_running", "on_demand.clone_first_answer", "on_demand.phases.fork" })
        {
            var at = path.Split('.').Aggregate(root, (element, name) => element.GetProperty(name));
            Assert.Equal(["median", "p90", "p99", "p999", "count"], at.EnumerateObject().Select(property => property.Name));
        }
        foreach (var number in new[] { "ratio_running_to_posix_spawn", "parked_share", "clones_per_second", "private_kib_per_clone", "pss_kib_per_clone" })
            Assert.Equal(JsonValueKind.Number, root.GetProperty(number).ValueKind);
    }

    [Fact]
    public void Ps_prints_the_names_that_are_promised()
    {
        var row = new ProcessRow("0123", "web", 42, "running", DateTimeOffset.UnixEpoch, 900, 1200);
        var root = JsonSerializer.SerializeToElement<IReadOnlyList<ProcessRow>>([row], CliJsonContext.Default.IReadOnlyListProcessRow)[0];
        Assert.Equal(["id", "snapshot", "pid", "state", "started", "pss_kib", "private_kib"], root.EnumerateObject().Select(property => property.Name));
        var whole = JsonSerializer.SerializeToElement<IReadOnlyList<ProcessRow>>(
            [row with { SharedKib = 1, PageTablesKib = 2, SwapKib = 3, PrivateCleanKib = 4, PrivateDirtyKib = 5, SharedCleanKib = 6, SharedDirtyKib = 7, Processes = 8 }],
            CliJsonContext.Default.IReadOnlyListProcessRow)[0];
        Assert.Equal(
            ["shared_kib", "page_tables_kib", "swap_kib", "private_clean_kib", "private_dirty_kib", "shared_clean_kib", "shared_dirty_kib", "processes"],
            whole.EnumerateObject().Select(property => property.Name).Except(root.EnumerateObject().Select(property => property.Name)));
    }

    [Fact]
    public void Templates_are_added_up_and_print_the_names_that_are_promised()
    {
        var one = new MemoryUse { Processes = 1, ResidentKib = 2, PssKib = 3, SharedCleanKib = 4, SharedDirtyKib = 5, PrivateCleanKib = 6, PrivateDirtyKib = 7, SwapKib = 8, HugeKib = 9, PageTablesKib = 10 };
        var two = new MemoryUse(one) { Processes = 2 };
        var row = TemplateRows.Describe(new TemplateStatus { Snapshot = "web", Digest = "sha256:0", Pid = 42, InUse = true, Template = one, Parked = two, Clones = two, CloneCount = 2, CountedBytes = 11, ParentDigest = "sha256:1" });
        Assert.Equal((5u, 9UL, 39UL, 24UL, 30UL), (row.Total.Processes, row.Total.PssKib, row.Total.PrivateKib, row.Total.SwapKib, row.Total.PageTablesKib));
        var root = JsonSerializer.SerializeToElement(new TemplateList(1, [row]), CliJsonContext.Default.TemplateList);
        Assert.Equal(["budget_bytes", "templates"], root.EnumerateObject().Select(property => property.Name));
        var template = root.GetProperty("templates")[0];
        Assert.Equal(
            ["snapshot", "digest", "pid", "in_use", "last_used", "parked_count", "clone_count", "template", "parked", "clones", "total", "filling", "counted_bytes", "parent_digest"],
            template.EnumerateObject().Select(property => property.Name));
        string[] sums = ["processes", "pss_kib", "private_kib", "private_clean_kib", "private_dirty_kib", "swap_kib", "page_tables_kib"];
        foreach (var name in new[] { "parked", "clones", "total" })
            Assert.Equal(sums, template.GetProperty(name).EnumerateObject().Select(property => property.Name));
        Assert.Equal([.. sums, "resident_kib", "huge_kib", "shared_kib", "shared_clean_kib", "shared_dirty_kib"], template.GetProperty("template").EnumerateObject().Select(property => property.Name));
    }

    [Fact]
    public void Create_prints_the_names_that_are_promised()
    {
        var root = JsonSerializer.SerializeToElement(new CreatedSnapshot("web", "sha256:0", 1, 2, 3, 4, 5, 6, 7, ["a sentence"]), CliJsonContext.Default.CreatedSnapshot);
        Assert.Equal(
            ["name", "digest", "pages_bytes", "resident_bytes", "threads", "mappings", "descriptors", "stopped_microseconds", "ready_microseconds", "remarks"],
            root.EnumerateObject().Select(property => property.Name));
        Assert.Equal("a sentence", root.GetProperty("remarks")[0].GetString());
    }

    [Fact]
    public void The_outcome_of_clones_is_put_together_from_their_events()
    {
        var outcome = new CloneOutcome(new CloneRequest { Snapshot = "web", Count = 3, Wait = true });
        outcome.Apply(Started(1, "b"));
        outcome.Apply(Started(0, "a"));
        outcome.Apply(new CloneEvent { Index = 0, Id = "a", Answered = new CloneAnswered { Line = ByteString.CopyFromUtf8("{}"), Microseconds = 7 } });
        outcome.Apply(new CloneEvent { Index = 2, Id = "c", Failed = new CloneFailed { Code = "clone_start_failed", Message = "entry 3" } });
        Assert.Equal(["a", "b"], outcome.RunningIds.Order());
        outcome.Apply(new CloneEvent { Index = 0, Id = "a", Exited = new CloneExited { ExitCode = 0, Microseconds = 9 } });
        outcome.Apply(new CloneEvent { Index = 1, Id = "b", Exited = new CloneExited { Signal = 9, Microseconds = 9 } });
        Assert.Equal(["a", "b", "c"], outcome.Rows.Select(row => row.Id));
        Assert.Equal(("{}", 0, null, 7.0, 9.0), (outcome.Rows[0].Answer, outcome.Rows[0].ExitCode, outcome.Rows[0].Signal, outcome.Rows[0].Timings!.FirstAnswer, outcome.Rows[0].Timings!.Exit));
        Assert.Equal((null, 9u), (outcome.Rows[1].ExitCode, outcome.Rows[1].Signal));
        Assert.Equal("clone_start_failed", outcome.Rows[2].Error!.Code);
        Assert.False(outcome.AllWell);
        Assert.Empty(outcome.RunningIds);
    }

    [Fact]
    public void All_is_well_when_every_clone_ended_with_zero()
    {
        var outcome = new CloneOutcome(new CloneRequest { Snapshot = "web", Count = 1, Wait = true });
        outcome.Apply(Started(0, "a"));
        Assert.False(outcome.AllWell);
        outcome.Apply(new CloneEvent { Index = 0, Id = "a", Exited = new CloneExited() });
        Assert.True(outcome.AllWell);
    }

    private static CloneEvent Started(uint index, string id) =>
        new() { Index = index, Id = id, Started = new CloneStarted { Pid = 42, Timings = new CloneTimings { Running = 5 } } };
}
