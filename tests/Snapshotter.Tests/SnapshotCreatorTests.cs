using Xunit;

namespace Snapshots.Snapshotter.Tests;

public sealed class SnapshotCreatorTests
{
    [Fact]
    public void A_worker_that_would_be_started_cannot_be_kept_running_and_is_not_started()
    {
        using var store = new TestStore();
        using var creator = new SnapshotCreator(store.Store);
        var witness = Path.Combine(Path.GetTempPath(), $"snapshots-witness-{Guid.NewGuid():n}");
        var request = new CreateRequest { Name = "kept", Command = ["touch", witness], KeepRunning = true };
        Assert.Throws<ArgumentException>(() => creator.Create(request, progress: null, TestContext.Current.CancellationToken));
        Assert.False(File.Exists(witness));
        Assert.Empty(store.Store.List());
    }
}
