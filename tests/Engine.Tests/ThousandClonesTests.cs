using System.Diagnostics;
using System.Text.Json;
using Snapshots.Images;
using Snapshots.Linux.Proc;
using Snapshots.RestorePool.Clones;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>A thousand clones of the 100 MB Python worker, all alive at once.</summary>
[Collection(EngineFixture.Alone)]
public sealed class ThousandClonesTests(ITestOutputHelper output) : IDisposable
{
    private const int CloneCount = 1000;
    private const ulong LargestIdleKib = 1536;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>The example's worker, except that it stays when it has answered, until its stdin ends: so it can be looked at.</summary>
    private const string Worker = """
        import os, runpy, sys
        os._exit = lambda status: os.read(0, 1)
        runpy.run_path(sys.argv[1], run_name="__main__")
        """;

    private readonly EngineFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void Each_answers_its_own_request_shares_what_it_does_not_write_and_leaves_nothing()
    {
        using var image = _fixture.Create(["/usr/bin/env", "python3", "-c", Worker, Example()], Cancellation);
        _ = RunTogether(image, 2); // the template, and all that the runtime loads on the way, are there from now on, and stay
        _fixture.Engine.Sandboxes.WaitUntilFull(Cancellation);
        var before = Leftovers.Of(Environment.ProcessId);
        var clock = Stopwatch.StartNew();

        var family = RunTogether(image, CloneCount);

        _fixture.Engine.Sandboxes.WaitUntilFull(Cancellation);
        var after = Leftovers.Of(Environment.ProcessId);
        output.WriteLine($"all are gone after {clock.Elapsed.TotalSeconds:f1} s: {after}");
        Assert.True(after.IsWithin(before), $"before {before}, after {after}");
        Assert.False(Leftovers.Alive().Overlaps(family), "a clone is alive");
        Assert.True(clock.Elapsed < Limit, $"it took {clock.Elapsed.TotalSeconds:f1} s");
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>Clones from their launch to their end; returns which processes they were.</summary>
    private HashSet<(int Pid, ulong Start)> RunTogether(SnapshotImage image, int count)
    {
        var clock = Stopwatch.StartNew();
        var clones = new List<Clone>(count);
        try
        {
            for (var i = 0; i < count; i++)
                clones.Add(_fixture.Engine.Launch(image, new CloneRequest { Id = $"clone-{i}", WithholdRequest = true }));
            output.WriteLine($"{count} clones are alive after {clock.Elapsed.TotalSeconds:f1} s");
            var family = clones.Select(clone => (clone.HostPid, ProcStat.Read(clone.HostPid).StartTimeTicks)).ToHashSet();
            Assert.Equal(count, family.Count);

            var idle = PrivateKib(clones);
            output.WriteLine($"own memory while waiting: {Describe(idle)}");
            Assert.True(idle[^1] <= LargestIdleKib, $"a clone that waits has {idle[^1]} KiB of its own");

            AskAll(clones);
            output.WriteLine($"all have answered after {clock.Elapsed.TotalSeconds:f1} s; own memory then: {Describe(PrivateKib(clones))}");
            Assert.All(clones, clone => Assert.Null(clone.TryGetExit()));
            return family;
        }
        finally
        {
            clones.ForEach(clone => clone.Dispose());
        }
    }

    private static void AskAll(List<Clone> clones)
    {
        for (var i = 0; i < clones.Count; i++)
            clones[i].SendRequest($"{{\"key\":{KeyOf(i)}}}");
        for (var i = 0; i < clones.Count; i++)
        {
            var answer = JsonDocument.Parse(EngineFixture.Answer(clones[i])).RootElement;
            Assert.Equal(clones[i].Id, answer.GetProperty("id").GetString());
            Assert.Equal(clones[i].Generation, answer.GetProperty("generation").GetInt64());
            Assert.Equal(KeyOf(i), answer.GetProperty("key").GetInt64());
            Assert.Equal((KeyOf(i) * 2654435761L + 12345L) & 0xFFFFFFFFL, answer.GetProperty("value").GetInt64());
            Assert.True(answer.GetProperty("entries").GetInt32() >= 300_000, "the table is not the large one");
        }
    }

    private static long KeyOf(int index) => (index * 293L) + 7;

    /// <summary>Pages that nobody else has, ascending.</summary>
    private static ulong[] PrivateKib(IEnumerable<Clone> clones) => [.. clones.Select(clone => SmapsRollup.Read(clone.HostPid).PrivateKib).Order()];

    private static string Describe(ulong[] ascending) => $"median {ascending[ascending.Length / 2]} KiB, most {ascending[^1]} KiB";

    private static string Example()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var file = Path.Combine(folder.FullName, "examples", "python", "worker.py");
            if (File.Exists(file))
                return file;
        }
        throw new FileNotFoundException("examples/python/worker.py is not above the tests");
    }
}
