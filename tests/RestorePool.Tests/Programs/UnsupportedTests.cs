using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;
using Xunit;

namespace Snapshots.RestorePool.Tests.Programs;

/// <summary>Images that our own freeze would not have made.</summary>
public sealed class UnsupportedTests
{
    [Fact]
    public void A_parent_death_signal_is_not_dropped_silently()
    {
        var manifest = SmallImage.Create();
        manifest.Processes[0].ParentDeathSignal = 15;
        var refusal = Assert.Throws<RestoreUnsupportedException>(() => CompiledPrograms.Compile(manifest, ForkDetectionPlan.For(manifest)));
        Assert.Contains("PR_SET_PDEATHSIG", refusal.Message, StringComparison.Ordinal);
    }
}
