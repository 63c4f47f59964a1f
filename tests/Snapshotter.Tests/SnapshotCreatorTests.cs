using Snapshots.Snapshotter.Readiness;
using Xunit;

namespace Snapshots.Snapshotter.Tests;

public sealed class SnapshotCreatorTests
{
    private static readonly string[] Worker = ["/bin/sh", "-c", "echo ready >&3; read line <&3; exit 7"];

    [Fact]
    public void A_worker_that_is_kept_running_is_its_owners_and_goes_on()
    {
        using var store = new TestStore();
        using var creator = new SnapshotCreator(store.Store);
        var request = new CreateRequest { Name = "kept", Command = Worker, Ready = new ChannelReadiness(), KeepRunning = true };
        using var worker = creator.Create(request, progress: null, TestContext.Current.CancellationToken).Worker;
        Assert.NotNull(worker);
        Assert.Null(worker.Process.TryGetExit());
        worker.SendRequest("kept", null);
        Assert.Equal(7, worker.Process.WaitForExit().Value);
        Assert.Single(store.Store.List());
    }

    [Fact]
    public void Any_other_worker_ends_with_its_freeze()
    {
        using var store = new TestStore();
        using var creator = new SnapshotCreator(store.Store);
        var created = creator.Create(new CreateRequest { Name = "ended", Command = Worker, Ready = new ChannelReadiness() }, progress: null, TestContext.Current.CancellationToken);
        Assert.Null(created.Worker);
    }
}
