using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

public abstract class CollectionTests
{
    private readonly Storage _storage;

    private protected CollectionTests(Storage storage) => _storage = storage;

    private static readonly int[] Own = [.. Enumerable.Range(0, 64).Select(i => 1001 + (2 * i))];
    private static readonly int[] Shared = [.. Enumerable.Range(0, 16).Select(i => 1 + (2 * i))];

    [Fact]
    public void Removal_takes_packs_that_nothing_else_reaches_and_leaves_others()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Pages(Shared));
        store.Create("b", TestImages.Pages([.. Shared, .. Own]));
        Assert.Equal(2, store.Packs.Length);
        var removed = store.Images.Remove("a");
        Assert.Equal((2, null), (removed.RemovedFiles, removed.KeptBecause)); // manifest and page map
        Assert.Equal(2, store.Packs.Length);
        Assert.Equal(TestImages.Pages([.. Shared, .. Own]), store.Read("b"));
        store.Images.Remove("b");
        Assert.Empty(store.Packs);
        Assert.Empty(store.Maps);
    }

    [Fact]
    public void A_pack_of_which_little_is_reached_is_written_again_without_the_rest()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Pages([.. Shared, .. Own]));
        store.Create("b", TestImages.Pages(Shared));
        var before = new FileInfo(Assert.Single(store.Packs)).Length;
        store.Images.Remove("a");
        using var open = store.Images.OpenImage("b");
        var digest = open.Digest;
        if (_storage == Storage.S3)
        {
            // The reader has claimed the pack: it would not find it again.
            Assert.Contains("use some packs", GarbageCollection.Run(store.Store).KeptBecause, StringComparison.Ordinal);
            open.Dispose();
        }
        var report = GarbageCollection.Run(store.Store);
        Assert.Equal((1, null), (report.RewrittenPacks, report.KeptBecause));
        var after = new FileInfo(Assert.Single(store.Packs)).Length;
        Assert.Equal(before - after, report.FreedBytes);
        Assert.InRange(after, Shared.Length * 4096, (Shared.Length * 4096) + 4096);
        Assert.Equal(TestImages.Pages(Shared), store.Read("b"));
        Assert.Equal(digest, store.Images.Resolve("b"));
        if (_storage == Storage.Directory)
            open.VerifyPages(); // It was open before.
        Assert.Equal(0, GarbageCollection.Run(store.Store).RewrittenPacks);
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
        // What was dropped is not counted on.
        store.Create("a", TestImages.Pages([.. Shared, .. Own]));
        Assert.Equal(TestImages.Pages([.. Shared, .. Own]), store.Read("a"));
        Assert.Empty(store.Incoming);
    }

    [Fact]
    public void A_pack_that_a_writer_counts_on_stays()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Pages([.. Shared, .. Own]));
        var domain = store.Store.Pages.Domain("default");
        using var writer = store.Images.CreateWriter();
        var manifest = TestImages.Manifest(16 * 4096);
        // One whole segment, so that it is stored at once; it needs a's pack from then on.
        var pages = TestImages.Pages(Enumerable.Repeat(Shared, 16).SelectMany(seed => seed));
        manifest.Processes[0].Mappings[0].End += (ulong)pages.Length;
        writer.Append(0, pages, manifest.Processes[0].Mappings[0].Extents);
        Assert.True(SpinWait.SpinUntil(() => Pin.ReadAll(domain.Incoming).Packs.Count == 1, TimeSpan.FromSeconds(30)));
        store.Images.Remove("a");
        Assert.Equal(0, GarbageCollection.Run(store.Open()).RewrittenPacks);
        Assert.Single(store.Packs);
        writer.Commit("b", manifest);
        using (var image = store.Images.OpenImage("b"))
            image.VerifyPages();
        writer.Dispose();
        Assert.Equal(1, GarbageCollection.Run(store.Store).RewrittenPacks);
        using (var image = store.Images.OpenImage("b"))
            image.VerifyPages();
    }

    [Fact]
    public void A_page_whose_pack_went_before_it_was_claimed_is_stored_again()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Pages(Shared));
        var domain = store.Store.Pages.Domain("default");
        using var pin = SnapshotStore.CreatePin(domain);
        var known = KnownPages.Load(domain, pin);
        store.Images.Remove("a");
        Assert.Empty(store.Packs);
        Assert.False(known.TryUse(Sha256Value.Of(TestImages.Pages(Shared[0])), out _));
    }

    [Fact]
    public void Writers_that_store_the_same_pages_at_once_end_with_one_pack()
    {
        using var store = new TestStore(_storage);
        var domain = store.Store.Pages.Domain("default");
        using var first = store.Images.CreateWriter();
        using var second = store.Images.CreateWriter();
        TestImages.Commit(first, "a", TestImages.Pages(Own));
        using var open = store.Images.OpenImage("a");
        TestImages.Commit(second, "b", TestImages.Pages(Own));
        Assert.Single(store.Packs);
        open.VerifyPages();
        Assert.Equal(store.Read("a"), store.Read("b"));
    }

    [Fact]
    public void A_damaged_image_holds_back_every_collection_and_is_named()
    {
        using var store = new TestStore(_storage);
        store.Create("good", TestImages.Pages(Shared));
        store.Create("bad", TestImages.Pages(Own));
        using (var image = store.Images.OpenImage("bad"))
            File.AppendAllText(store.FileOf(MapNames.Of(Sha256Value.Read(image.Manifest.Pages.Map.Sha256.Span))), "x");
        var removed = store.Images.Remove("good");
        Assert.Equal(0, removed.RemovedFiles);
        Assert.Contains("\"bad\"", removed.KeptBecause, StringComparison.Ordinal);
        Assert.Contains("\"bad\"", GarbageCollection.Run(store.Store).KeptBecause, StringComparison.Ordinal);
        Assert.Equal(2, store.Packs.Length);
        store.Images.Remove("bad");
        Assert.Empty(store.Packs);
    }

    [Fact]
    public void Usage_tells_what_each_snapshot_takes_alone()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Pages(Shared));
        store.Create("b", TestImages.Pages([.. Shared, .. Own]));
        var usage = StoreUsage.Measure(store.Store);
        var (a, b) = (usage.Snapshots[0], usage.Snapshots[1]);
        Assert.Equal((16 * 4096ul, 80 * 4096ul), (a.LogicalBytes, b.LogicalBytes));
        Assert.Equal((96 * 4096ul, 80 * 4096ul, 0L), (usage.LogicalBytes, usage.UniqueBytes, usage.GarbageBytes));
        Assert.InRange(a.ExclusiveBytes, 1, 4096); // Manifest and page map.
        Assert.Equal(a.ExclusiveBytes, a.FreesBytes);
        Assert.InRange(b.ExclusiveBytes, 64 * 4096, 68 * 4096);
        Assert.Equal(store.StoredBytes, usage.StoredBytes);
        Assert.Equal(_storage == Storage.S3, usage.Remote is not null);
        Assert.Equal(b.FreesBytes, store.Images.Remove("b").FreedBytes);
    }
}
