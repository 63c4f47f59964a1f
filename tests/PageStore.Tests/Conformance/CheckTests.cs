using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

public abstract class CheckTests
{
    private readonly Storage _storage;

    private protected CheckTests(Storage storage) => _storage = storage;

    [Fact]
    public void A_whole_store_has_no_problems()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Memory(1, 50));
        store.Create("b", TestImages.Memory(5, 50));
        using (var writer = ImageStore.Open(store.Root, TestStore.Files).CreateWriter())
            TestImages.Commit(writer, "old", TestImages.Memory(2, 20));
        var report = StoreCheck.Run(store.Store, repair: true);
        Assert.Empty(report.Problems);
        Assert.Empty(report.Lost);
        Assert.Equal((3, 2), (report.Snapshots, report.Packs));
        Assert.Equal(3, store.Images.List().Count);
        Assert.Empty(store.Incoming);
    }

    [Fact]
    public void A_damaged_frame_costs_the_snapshots_that_need_it_and_no_others()
    {
        using var store = new TestStore(_storage);
        var first = TestImages.Pages(Enumerable.Range(0, 8).Select(i => 1 + (2 * i)));
        var second = TestImages.Pages(Enumerable.Range(0, 8).Select(i => 101 + (2 * i)));
        store.Create("both", [.. first, .. second]);
        store.Create("first", first);
        store.Create("second", second);
        Flip(Assert.Single(store.Packs), 128 + 10); // In frame 0.
        var found = StoreCheck.Run(store.Store, repair: false);
        Assert.Equal(["both", "first", store.LocationOf(store.Packs[0])], found.Problems.Select(problem => problem.Subject));
        Assert.All(found.Problems, problem => Assert.True(problem.Proven && !problem.Repaired));
        Assert.Equal(3, store.Images.List().Count);

        var repaired = StoreCheck.Run(store.Store, repair: true);
        Assert.All(repaired.Problems, problem => Assert.True(problem.Repaired));
        Assert.Equal(["both", "first"], repaired.Lost);
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
        Assert.Equal(second, store.Read("second"));
        // The damaged pages are stored anew instead of being counted on.
        store.Create("both", [.. first, .. second]);
        Assert.Equal([.. first, .. second], store.Read("both"));
    }

    [Fact]
    public void Damage_that_no_snapshot_needs_is_dropped_all_the_same()
    {
        using var store = new TestStore(_storage);
        var first = TestImages.Pages(Enumerable.Range(0, 8).Select(i => 1 + (2 * i)));
        var second = TestImages.Pages(Enumerable.Range(0, 16).Select(i => 101 + (2 * i)));
        store.Create("both", [.. first, .. second]);
        store.Create("second", second);
        store.Images.Remove("both");
        Flip(Assert.Single(store.Packs), 128 + 10);
        var report = StoreCheck.Run(store.Store, repair: true);
        Assert.True(Assert.Single(report.Problems).Repaired);
        Assert.Empty(report.Lost);
        Assert.Equal(second, store.Read("second"));
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
    }

    [Theory]
    [InlineData(0)] // magic
    [InlineData(20)] // frame count
    [InlineData(40)] // identity
    [InlineData(-40)] // frame table
    public void A_pack_that_cannot_be_read_goes_with_its_snapshots(int at)
    {
        using var store = new TestStore(_storage);
        store.Create("lost", TestImages.Memory(1, 30));
        var pack = store.Packs[0];
        store.Create("kept", TestImages.Memory(2, 30));
        Flip(pack, at);
        var report = StoreCheck.Run(store.Store, repair: true);
        Assert.Equal(["lost"], report.Lost);
        Assert.All(report.Problems, problem => Assert.True(problem.Repaired, problem.What));
        Assert.Equal(TestImages.Memory(2, 30), store.Read("kept"));
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
        Assert.False(File.Exists(pack));
    }

    [Fact]
    public void Names_manifests_and_page_maps_that_are_broken_are_found_and_dropped()
    {
        using var store = new TestStore(_storage);
        var digest = store.Create("manifest", TestImages.Memory(1, 10));
        Flip(Path.Combine(store.Root, "blobs", "sha256", digest.Hex), 5);
        store.Create("map", TestImages.Memory(2, 10));
        using (var image = store.Images.OpenImage("map"))
            File.Delete(store.FileOf(MapNames.Of(Sha256Value.Read(image.Manifest.Pages.Map.Sha256.Span))));
        File.WriteAllText(Path.Combine(store.Root, "names", "name"), "nothing\n");
        store.Create("kept", TestImages.Memory(3, 10));
        Assert.Equal(["manifest", "map", "name"], StoreCheck.Run(store.Store, repair: true).Lost);
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
        Assert.Equal("kept", Assert.Single(store.Images.List()).Name);
    }

    [Fact]
    public void What_only_a_newer_version_understands_is_reported_and_kept()
    {
        using var store = new TestStore(_storage);
        store.Create("newer", TestImages.Memory(1, 10));
        byte[] bytes;
        using (var image = store.Images.OpenImage("newer"))
        {
            var manifest = image.Manifest.Clone();
            manifest.FormatVersion = ImageLimits.FormatVersion + 1;
            bytes = Google.Protobuf.MessageExtensions.ToByteArray(manifest);
        }
        var digest = SnapshotDigest.Of(bytes);
        File.WriteAllBytes(Path.Combine(store.Root, "blobs", "sha256", digest.Hex), bytes);
        File.WriteAllText(Path.Combine(store.Root, "names", "newer"), $"{digest}\n");
        var report = StoreCheck.Run(store.Store, repair: true);
        var problem = Assert.Single(report.Problems);
        Assert.Equal(("newer", false, false), (problem.Subject, problem.Proven, problem.Repaired));
        Assert.Empty(report.Lost);
        Assert.Single(store.Packs);
    }

    [Fact]
    public void A_damaged_frame_that_a_running_create_counts_on_is_left_and_said_so()
    {
        using var store = new TestStore(_storage);
        var pages = TestImages.Pages(Enumerable.Range(0, 256).Select(i => 2 + (2 * i)));
        store.Create("a", pages);
        using var writer = store.Images.CreateWriter();
        writer.Append(0, pages, []);
        var incoming = store.Store.Pages.Domain("default").Incoming;
        Assert.True(SpinWait.SpinUntil(() => Pin.ReadAll(incoming).Packs.Count == 1, TimeSpan.FromSeconds(30)));
        Flip(store.Packs[0], 128 + 3);
        var report = StoreCheck.Run(store.Store, repair: true);
        Assert.Equal(["a"], report.Lost);
        Assert.False(report.Problems.Single(problem => problem.Subject != "a").Repaired);
        Assert.Single(store.Packs);
    }

    private static void Flip(string path, int at)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var offset = at >= 0 ? at : RandomAccess.GetLength(file) + at;
        var value = new byte[1];
        RandomAccess.Read(file, value, offset);
        value[0] ^= 4;
        RandomAccess.Write(file, value, offset);
    }
}
