using Xunit;

namespace Snapshots.Engine.Tests;

[Collection(EngineFixture.Alone)]
public sealed class RefreezeTests : IDisposable
{
    private readonly EngineFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void A_clone_can_be_snapshotted_again_and_its_clones_go_on_from_there()
    {
        using var image = _fixture.Create(TestContext.Current.CancellationToken);
        using var parent = _fixture.Launch(image);
        var pid = EngineFixture.Answer(parent).Split(' ')[0];
        EngineFixture.Ask(parent);
        Assert.Equal($"{pid} 2", EngineFixture.Answer(parent));

        using var child = _fixture.CreateFrom(parent, "child", TestContext.Current.CancellationToken);

        EngineFixture.Ask(parent);
        Assert.Equal($"{pid} 3", EngineFixture.Answer(parent));
        Assert.DoesNotContain(child.Manifest.Processes[0].Mappings, mapping => StartsInsideEngine(image, mapping.Start));
        using var one = _fixture.Launch(child);
        using var two = _fixture.Launch(child);
        foreach (var clone in new[] { one, two })
        {
            Assert.Equal($"{pid} 3", EngineFixture.Answer(clone)); // the request that came with its launch
            EngineFixture.Ask(clone);
            Assert.Equal($"{pid} 4", EngineFixture.Answer(clone));
        }
    }

    /// <summary>The first moments are the ones in which some threads still run our code.</summary>
    [Fact]
    public void A_clone_can_be_snapshotted_at_once_after_its_start()
    {
        using var image = _fixture.Create(TestContext.Current.CancellationToken);
        for (var round = 0; round < 20; round++)
        {
            using var parent = _fixture.Launch(image);
            using var child = _fixture.CreateFrom(parent, "early", TestContext.Current.CancellationToken);
            Assert.DoesNotContain(child.Manifest.Processes[0].Mappings, mapping => StartsInsideEngine(image, mapping.Start));
            using var clone = _fixture.Launch(child);
            // The parent may have answered before it was stopped, and its clone then counts on; or have been about to, and its clone answers twice.
            Assert.Matches($"^{EngineFixture.Answer(parent).Split(' ')[0]} [12]$", EngineFixture.Answer(clone).Split('\n')[0]);
            _fixture.Engine.Drop(child.Digest.ToString());
        }
    }

    private bool StartsInsideEngine(Images.SnapshotImage image, ulong address)
    {
        var plan = _fixture.Engine.Prepare(image).Programs.Plan;
        return address >= plan.Whole.Start.Value && address < plan.Whole.End.Value;
    }
}
