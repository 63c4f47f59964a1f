using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Clones that are born before anybody asks for them.</summary>
[Collection(EngineFixture.Alone)]
public sealed class ParkingTests : IDisposable
{
    private const int Parked = 2;
    private const int SIGKILL = 9;
    private readonly EngineFixture _fixture = new(Parked);

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Parked_clones_start_from_the_same_state_as_forked_ones()
    {
        using var image = _fixture.Create(Cancellation);
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        var answers = new List<string>();
        for (var i = 0; i < 2 * Parked; i++)
        {
            using var parked = _fixture.Launch(image);
            using var forked = _fixture.Engine.Launch(image, new CloneRequest { Id = "forked", ForkOnDemand = true });
            Assert.True(parked.Timings is { WasParked: true, Fork: 0, Sandbox: 0, Order: > 0, Threads: > 0 });
            Assert.True(forked.Timings is { WasParked: false, Fork: > 0 });
            answers.Add(EngineFixture.Answer(parked));
            answers.Add(EngineFixture.Answer(forked));
            _fixture.Engine.WaitUntilReady(image, Cancellation);
        }
        Assert.Single(answers.Distinct());
    }

    [Fact]
    public void More_than_are_parked_can_live_at_once()
    {
        using var image = _fixture.Create(Cancellation);
        var clones = Enumerable.Range(0, 5 * Parked).Select(_ => _fixture.Launch(image)).ToList();
        Assert.All(clones, clone => Assert.EndsWith(" 1", EngineFixture.Answer(clone), StringComparison.Ordinal));
        clones.ForEach(clone => clone.Dispose());
    }

    [Fact]
    public void One_that_is_killed_while_it_waits_is_nobodys_trouble()
    {
        using var image = _fixture.Create(Cancellation);
        var before = Held(image);
        foreach (var pid in ParkedPids(image))
            Kill(pid);

        using (var clone = _fixture.Launch(image))
            Assert.EndsWith(" 1", EngineFixture.Answer(clone), StringComparison.Ordinal);

        Assert.Equal(before, Held(image));
    }

    [Fact]
    public void One_that_fails_after_its_order_is_named_and_leaves_nothing_behind()
    {
        using var image = _fixture.Create(Cancellation);
        var program = _fixture.Engine.Prepare(image).Programs.Clone;
        var before = Held(image);
        var start = IndexOf(program, "time of Started");
        var end = IndexOf(program, "report Running");
        for (var index = start; index < end; index++)
        {
            var entry = program.Entries[index];
            if (!entry.IsSyscall || entry.Expectation == Expectation.Anything)
                continue;
            var faults = ParkedPids(image).ConvertAll(pid => new EntryFault(program, pid, index));
            Assert.Equal(Parked, faults.Count);
            for (var i = 0; i < Parked; i++)
            {
                var failure = Assert.Throws<CloneStartException>(() => _fixture.Launch(image));
                Assert.Equal((Errno.ENOSYS, entry.Subject), (failure.Failure!.Errno, failure.Failure.Subject));
            }
            faults.ForEach(fault => fault.Dispose());
            Assert.Equal(before, Held(image));
        }
    }

    [Fact]
    public void One_that_cannot_be_born_is_reported_to_whoever_asks()
    {
        using var image = _fixture.Create(Cancellation);
        var template = _fixture.Engine.Prepare(image);
        var before = Held(image);
        var program = template.Programs.Clone;
        var entry = program.Entries[IndexOf(program, "session")];
        using (new EntryFault(program, template.Pid, IndexOf(program, "session")))
        {
            // The first take those that were parked before, the next find what failed while nobody looked.
            for (var i = 0; i < Parked; i++)
                _fixture.Launch(image).Dispose();
            var failure = Assert.Throws<CloneStartException>(() => _fixture.Launch(image));
            Assert.Equal(entry.Subject, failure.Failure!.Subject);
        }

        // What was born while the fault was there is found dead and replaced, or dies of it just when it is asked for.
        for (var i = 0; i < Parked; i++)
        {
            try
            {
                _fixture.Launch(image).Dispose();
            }
            catch (CloneStartException late)
            {
                Assert.Equal(entry.Subject, late.Failure!.Subject);
            }
        }
        _fixture.Launch(image).Dispose();
        Assert.Equal(before, Held(image));
    }

    [Fact]
    public void A_template_that_dies_is_replaced_together_with_its_parked_clones()
    {
        using var image = _fixture.Create(Cancellation);
        var before = Held(image);
        Kill(_fixture.Engine.Prepare(image).Pid);
        var failed = 0;
        for (var i = 0; i < 3 * Parked; i++)
        {
            try
            {
                using var clone = _fixture.Launch(image);
                Assert.EndsWith(" 1", EngineFixture.Answer(clone), StringComparison.Ordinal);
            }
            catch (HuskDiedException)
            {
                failed++;
            }
        }
        Assert.InRange(failed, 1, 1);
        Assert.Equal(before, Held(image));
    }

    [Fact]
    public void Dropping_a_snapshot_ends_its_template_and_all_that_is_parked()
    {
        using var image = _fixture.Create(Cancellation);
        var empty = _fixture.Held(Cancellation);
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        Assert.Equal(Parked, ParkedPids(image).Count);
        _fixture.Engine.Drop(image.Digest.ToString());
        Assert.Equal(empty, _fixture.Held(Cancellation));
    }

    private string Held(SnapshotImage image)
    {
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        return _fixture.Held(Cancellation);
    }

    /// <summary>Our children that run the snapshot's executable, but for the template.</summary>
    private List<int> ParkedPids(SnapshotImage image)
    {
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        var template = _fixture.Engine.Prepare(image);
        var executable = image.Manifest.Files[(int)image.Manifest.Processes[0].ExeFile].Path;
        return [.. EngineFixture.Children().Where(pid => pid != template.Pid && ReadLink.Read($"/proc/{pid}/exe", out var path) == Errno.None && path == executable)];
    }

    private static void Kill(int pid)
    {
        using var victim = Pidfd.Open(pid);
        Assert.Equal(Errno.None, Pidfd.SendSignal(victim, SIGKILL));
        Assert.True(Poll.IsReadable(victim, TimeSpan.FromSeconds(10)));
    }

    private static int IndexOf(RestoreProgram program, string subject) =>
        Enumerable.Range(0, program.Entries.Count).First(index => program.Entries[index].Subject == subject);
}
