using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Xunit;

namespace Snapshots.Engine.Tests;

[Collection(EngineFixture.Alone)]
public sealed class FaultTests : IDisposable
{
    private const int SIGKILL = 9;
    private readonly EngineFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>Each system call of the clone program in turn becomes one that no kernel knows.</summary>
    [Fact]
    public void A_clone_that_fails_at_any_entry_is_named_and_leaves_nothing_behind()
    {
        using var image = _fixture.Create(Cancellation);
        var template = _fixture.Engine.Prepare(image);
        var program = template.Programs.Clone;
        using (var first = _fixture.Launch(image))
            Assert.EndsWith(" 1", EngineFixture.Answer(first), StringComparison.Ordinal);
        var before = _fixture.Held(Cancellation);
        var start = Enumerable.Range(0, program.Entries.Count).First(index => program.Entries[index].Subject == "time of Forked");
        var reported = Enumerable.Range(start, program.Entries.Count - start).First(index => program.Entries[index].Subject == "report Running");
        var tried = 0;
        for (var index = start; index < program.Entries.Count; index++)
        {
            var entry = program.Entries[index];
            // What ends a clone whose engine is gone does not run here.
            if (!entry.IsSyscall || entry.Expectation == Expectation.Anything || entry.Subject == "end of orders")
                continue;
            tried++;
            Break(template, index, () => ExpectFailure(image, entry, afterReport: index > reported && index <= reported + 3));
            Assert.Equal(before, _fixture.Held(Cancellation));
        }

        Assert.True(tried > 20, $"only {tried} entries were tried");
        Assert.Equal(template.Pid, _fixture.Engine.Prepare(image).Pid);
        using var last = _fixture.Launch(image);
        Assert.EndsWith(" 1", EngineFixture.Answer(last), StringComparison.Ordinal);
    }

    [Fact]
    public void A_template_killed_at_any_moment_of_a_launch_hangs_nobody_and_leaves_nothing_behind()
    {
        using var image = _fixture.Create(Cancellation);
        _fixture.Launch(image).Dispose();
        var before = _fixture.Held(Cancellation);
        var failed = 0;
        var random = new Random(1);
        for (var round = 0; round < 60; round++)
        {
            using var victim = Pidfd.Open(_fixture.Engine.Prepare(image).Pid);
            var spins = random.Next(200_000);
            var killer = new Thread(() =>
            {
                Thread.SpinWait(spins);
                _ = Pidfd.SendSignal(victim, SIGKILL);
            });
            killer.Start();
            try
            {
                using var clone = _fixture.Launch(image);
                _ = EngineFixture.Answer(clone); // A clone that was started does not need its template any more.
            }
            catch (Exception exception) when (exception is HuskDiedException or CloneStartException)
            {
                failed++;
            }
            killer.Join();
            // The template may have outlived the launch; the next one then meets it dead.
            Recover(image);
        }

        Assert.True(failed > 0, "no launch was hit; the kill comes too early or too late to test anything");
        Assert.Equal(before, _fixture.Held(Cancellation));
    }

    /// <summary>The worst moment: the clone exists as our child, and its pid never reaches us.</summary>
    [Fact]
    public async Task A_template_that_dies_between_its_fork_and_its_report_leaves_no_child_behind()
    {
        using var image = _fixture.Create(Cancellation);
        _fixture.Launch(image).Dispose();
        var before = _fixture.Held(Cancellation);
        var template = _fixture.Engine.Prepare(image);
        var program = template.Programs.Clone;
        var report = Enumerable.Range(0, program.Entries.Count).First(index => program.Entries[index].Subject == "report Forked");
        using (new EntryFault(program, template.Pid, report))
        {
            var launch = Task.Run(() => _fixture.Launch(image), Cancellation);
            await Assert.ThrowsAsync<HuskDiedException>(() => launch.WaitAsync(TimeSpan.FromSeconds(20), Cancellation));
        }

        _fixture.Launch(image).Dispose();
        Assert.Equal(before, _fixture.Held(Cancellation));
    }

    /// <summary>Whoever kills a clone and whoever cleans up behind it do not know of each other: the second finds nothing to do.</summary>
    [Fact]
    public void A_clone_can_be_killed_while_and_after_somebody_disposes_of_it()
    {
        using var image = _fixture.Create(Cancellation);
        for (var round = 0; round < 50; round++)
        {
            using var clone = _fixture.Launch(image);
            var cleaner = new Thread(() =>
            {
                _ = clone.WaitForExit();
                clone.Dispose();
            });
            cleaner.Start();
            clone.Kill();
            cleaner.Join();
            clone.Kill();
        }
    }

    private void Recover(Images.SnapshotImage image)
    {
        try
        {
            _fixture.Launch(image).Dispose();
        }
        catch (HuskDiedException)
        {
            _fixture.Launch(image).Dispose();
        }
    }

    private void ExpectFailure(Images.SnapshotImage image, Entry entry, bool afterReport)
    {
        if (afterReport)
        {
            // Nobody listens any more: the clone ends, as any process may right after its start.
            using var clone = _fixture.Launch(image);
            Assert.Equal(new ExitStatus(false, ControlBlock.FailureExitCode), clone.WaitForExit());
            return;
        }
        var failure = Assert.Throws<CloneStartException>(() => _fixture.Launch(image));
        if (failure.Failure is { } cause)
        {
            Assert.Equal(Errno.ENOSYS, cause.Errno);
            Assert.Equal(entry.Subject, cause.Subject);
        }
        else
        {
            Assert.Equal("report Running", entry.Subject); // the one call whose failure cannot be reported as itself
        }
    }

    private static void Break(Template template, int index, Action whileBroken)
    {
        using var fault = new EntryFault(template.Programs.Clone, template.Pid, index);
        whileBroken();
    }
}
