using System.Collections.Concurrent;
using Snapshots.Images;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Templates that are dropped because all of them together have too much memory.</summary>
[Collection(EngineFixture.Alone)]
public sealed class EvictionTests
{
    private const int TableMebibytes = 8;

    /// <summary>Two of the workers fit into it, three do not.</summary>
    private const long TwoTemplates = 36L << 20;

    /// <summary>No template fits into it: only the one that was used last stays.</summary>
    private const long LessThanOne = 1;

    private readonly ConcurrentQueue<TemplateEviction> _evictions = new();
    private readonly ConcurrentQueue<OversizedTemplate> _oversized = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void The_one_that_was_used_longest_ago_goes_and_comes_back_when_it_is_needed()
    {
        using var fixture = Start(TwoTemplates);
        using var a = Create(fixture, "a");
        using var b = Create(fixture, "b");
        using var c = Create(fixture, "c");
        Use(fixture, a);
        Use(fixture, b);
        Assert.All(fixture.Engine.ListTemplates(), template => Assert.InRange(template.Memory.ResidentKib * 1024, (ulong)TwoTemplates / 3, (ulong)TwoTemplates / 2));
        Use(fixture, a);
        Assert.Equal(["a", "b"], Resident(fixture));

        Use(fixture, c);

        Assert.Equal(["a", "c"], Resident(fixture));
        var gone = Assert.Single(_evictions);
        Assert.Equal(("b", b.Digest.ToString()), (gone.Name, gone.Digest));
        Assert.InRange(gone.ResidentBytes, TwoTemplates / 3, TwoTemplates / 2);
        Assert.True(gone.Idle > TimeSpan.Zero);
        Use(fixture, b);
        Assert.Equal(["b", "c"], Resident(fixture));
        Assert.Equal(["b", "a"], _evictions.Select(eviction => eviction.Name));
        Assert.Empty(_oversized);
    }

    [Fact]
    public void A_live_clone_answers_after_its_template_is_gone_with_all_that_was_parked()
    {
        using var fixture = Start(LessThanOne, parked: 2);
        using var a = Create(fixture, "a");
        using var b = Create(fixture, "b");
        fixture.Engine.WaitUntilReady(b, Cancellation);
        var withoutA = fixture.Held(Cancellation);
        using (var clone = fixture.Launch(a))
        {
            Assert.EndsWith(" 1", EngineFixture.Answer(clone), StringComparison.Ordinal);
            fixture.Engine.WaitUntilReady(a, Cancellation);
            fixture.Engine.WaitUntilReady(b, Cancellation);
            Assert.Equal(["b"], Resident(fixture));

            for (var state = 2; state < 5; state++)
            {
                EngineFixture.Ask(clone);
                Assert.EndsWith($" {state}", EngineFixture.Answer(clone), StringComparison.Ordinal);
            }
            Assert.True(clone.ReadMemory()!.Value.ResidentKib > TableMebibytes * 1024);
        }
        Assert.Equal(withoutA, fixture.Held(Cancellation));
    }

    [Fact]
    public void One_that_is_in_use_stays()
    {
        using var fixture = Start(LessThanOne);
        using var a = Create(fixture, "a");
        using var b = Create(fixture, "b");
        var use = fixture.Engine.Use(TemplateSource.Of(a));
        Use(fixture, b);
        Assert.Equal(["a", "b"], Resident(fixture));
        Assert.True(fixture.Engine.ListTemplates().Single(template => template.Name == "a").InUse);
        Assert.Empty(_evictions);

        use.Dispose();
        use.Dispose();

        // Its use ended last, so the other one goes.
        Assert.Equal(["a"], Resident(fixture));
        Assert.Equal(use.Template.Pid, fixture.Engine.Prepare(a).Pid);
    }

    [Fact]
    public void One_that_is_dropped_while_it_is_in_use_ends_with_its_last_use()
    {
        using var fixture = Start(TwoTemplates);
        using var a = Create(fixture, "a");
        var empty = fixture.Held(Cancellation);
        using (var first = fixture.Engine.Use(TemplateSource.Of(a)))
        using (fixture.Engine.Use(TemplateSource.Of(a)))
        {
            fixture.Engine.Drop(a.Digest.ToString());
            Assert.Empty(Resident(fixture));
            Assert.True(Directory.Exists($"/proc/{first.Template.Pid}"));
            Use(fixture, a);
            Assert.NotEqual(first.Template.Pid, fixture.Engine.Prepare(a).Pid);
            fixture.Engine.Drop(a.Digest.ToString());
        }
        Assert.Equal(empty, fixture.Held(Cancellation));
    }

    [Fact]
    public void One_that_is_larger_than_the_budget_works_and_is_remarked_on()
    {
        using var fixture = Start(LessThanOne);
        using var a = Create(fixture, "a");
        Use(fixture, a);
        var pid = fixture.Engine.Prepare(a).Pid;
        Use(fixture, a);
        Assert.Equal(pid, fixture.Engine.Prepare(a).Pid);
        var remark = Assert.Single(_oversized);
        Assert.Equal(("a", LessThanOne), (remark.Name, remark.BudgetBytes));
        Assert.Empty(_evictions);
    }

    [Fact]
    public void An_image_that_the_engine_opened_is_closed_with_its_template_and_opened_again_for_the_next()
    {
        using var fixture = Start(LessThanOne);
        string digest;
        using (var a = Create(fixture, "a"))
            digest = a.Digest.ToString();
        using var b = Create(fixture, "b");
        var opened = new List<SnapshotImage>();
        var source = new TemplateSource("a", digest, () =>
        {
            opened.Add(fixture.Store.OpenImage(digest));
            return opened[^1];
        });
        fixture.Engine.Launch(source, new CloneRequest { Id = "one" }).Dispose();
        fixture.Engine.Launch(source, new CloneRequest { Id = "two" }).Dispose();
        ReadPage(Assert.Single(opened));

        Use(fixture, b);

        Assert.Throws<ObjectDisposedException>(() => ReadPage(opened[0]));
        fixture.Engine.Launch(source, new CloneRequest { Id = "three" }).Dispose();
        Assert.Equal(2, opened.Count);
        ReadPage(opened[1]);
    }

    [Fact]
    public void What_cannot_be_built_costs_no_other_template_its_place()
    {
        using var fixture = Start(LessThanOne);
        using var a = Create(fixture, "a");
        Use(fixture, a);
        var pid = fixture.Engine.Prepare(a).Pid;
        var missing = new TemplateSource("missing", "sha256:0", () => fixture.Store.OpenImage("missing"));
        Assert.Equal(ImageFailure.NotFound, Assert.Throws<ImageException>(() => fixture.Engine.Use(missing)).Failure);
        Assert.Equal(pid, fixture.Engine.Prepare(a).Pid);
        Assert.Empty(_evictions);
    }

    /// <summary>Launches of more snapshots than fit, from several threads, with drops in between: every clone answers, and nothing is left.</summary>
    [Fact]
    public async Task Launches_and_evictions_side_by_side_lose_nothing_and_leave_nothing()
    {
        using var fixture = Start(TwoTemplates, parked: 1);
        using var a = Create(fixture, "a");
        using var b = Create(fixture, "b");
        using var c = Create(fixture, "c");
        SnapshotImage[] images = [a, b, c];
        var empty = fixture.Held(Cancellation);
        var launched = 0;
        var end = Environment.TickCount64 + 4_000;

        await Task.WhenAll(Enumerable.Range(0, 3).Select(worker => Task.Factory.StartNew(
            () =>
            {
                var random = new Random(worker);
                while (Environment.TickCount64 < end)
                {
                    var image = images[random.Next(images.Length)];
                    if (random.Next(20) == 0)
                        fixture.Engine.Drop(image.Digest.ToString());
                    using var clone = fixture.Engine.Launch(image, new CloneRequest { Id = "clone", ForkOnDemand = random.Next(2) == 0 });
                    Assert.EndsWith(" 1", EngineFixture.Answer(clone), StringComparison.Ordinal);
                    Interlocked.Increment(ref launched);
                }
            },
            Cancellation,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)));

        Assert.True(launched > 20, $"only {launched} launches");
        Assert.True(_evictions.Count > 5, $"only {_evictions.Count} evictions");
        Assert.InRange(Resident(fixture).Count, 1, 2);
        foreach (var image in images)
            fixture.Engine.Drop(image.Digest.ToString());
        // Clones are parked one after the other: when the last template's are, nothing is forked for the others any more.
        fixture.Engine.WaitUntilReady(a, Cancellation);
        fixture.Engine.Drop(a.Digest.ToString());
        Assert.Equal(empty, fixture.Held(Cancellation));
    }

    private EngineFixture Start(long budgetBytes, int parked = 0) => new(parked, new RestoreOptions
    {
        TemplateMemoryBytes = budgetBytes,
        TemplateEvicted = _evictions.Enqueue,
        TemplateOversized = _oversized.Enqueue,
    });

    private static SnapshotImage Create(EngineFixture fixture, string name) =>
        fixture.Create(Cancellation, $"import os\ntable = os.urandom({TableMebibytes} << 20)\n{EngineFixture.Worker}", name: name);

    private static void Use(EngineFixture fixture, SnapshotImage image)
    {
        using var clone = fixture.Launch(image);
        Assert.EndsWith(" 1", EngineFixture.Answer(clone), StringComparison.Ordinal);
    }

    private static List<string> Resident(EngineFixture fixture) => [.. fixture.Engine.ListTemplates().Select(template => template.Name).Order(StringComparer.Ordinal)];

    private static void ReadPage(SnapshotImage image) => image.Pages.Read(0, new byte[4096]);
}
