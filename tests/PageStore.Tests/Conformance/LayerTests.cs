using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

/// <summary>Images that take pages over from their parents.</summary>
public abstract class LayerTests
{
    private readonly Storage _storage;

    private protected LayerTests(Storage storage) => _storage = storage;

    private const int Pages = 3000;

    private static byte[] ParentMemory { get; } = TestImages.Pages(Enumerable.Range(1, Pages));

    /// <summary>Every third page is the layer's own, in runs of all lengths; some are zeros now.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(700)]
    public void A_layer_reads_as_it_was_written_and_stores_what_differs(int run)
    {
        using var store = new TestStore(_storage);
        store.Create("parent", ParentMemory);
        var (expected, stored) = CreateLayer(store, "layer", "parent", run);
        Assert.Equal(expected, store.Read("layer"));
        var usage = StoreUsage.Measure(store.Store).Snapshots.Single(snapshot => snapshot.Name == "layer");
        Assert.InRange(usage.ExclusiveBytes, 1, (stored * TestImages.Page) + 200_000);
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
        Assert.Empty(store.Incoming);
    }

    [Fact]
    public void A_layer_of_a_layer_needs_neither_when_both_are_gone()
    {
        using var store = new TestStore(_storage);
        store.Create("parent", ParentMemory);
        CreateLayer(store, "layer", "parent", 5);
        var (expected, _) = CreateLayer(store, "third", "layer", 11);
        store.Images.Remove("parent");
        store.Images.Remove("layer");
        GarbageCollection.Run(store.Store);
        Assert.Equal(expected, store.Read("third"));
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
        store.Images.Remove("third");
        GarbageCollection.Run(store.Store);
        Assert.Empty(store.Packs);
    }

    [Fact]
    public void A_parent_that_is_removed_while_its_layer_is_being_made_leaves_its_pages()
    {
        using var store = new TestStore(_storage);
        store.Create("parent", ParentMemory);
        var (writer, manifest, expected, _) = Begin(store, "parent", 9);
        using (writer)
        {
            store.Images.Remove("parent");
            GarbageCollection.Run(store.Open());
            writer.Commit("layer", manifest);
        }
        Assert.Equal(expected, store.Read("layer"));
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
    }

    [Fact]
    public void A_parent_that_is_gone_cannot_be_taken_from()
    {
        using var store = new TestStore(_storage);
        store.Create("parent", ParentMemory);
        using var parent = store.Images.OpenImage("parent");
        store.Images.Remove("parent");
        Assert.Equal(ImageFailure.NotFound, Assert.Throws<ImageException>(() => store.Images.CreateWriter(parent)).Failure);
        // Whoever reads packs of an object store has a claim there.
        parent.Dispose();
        Assert.Empty(store.Incoming);
    }

    [Fact]
    public void An_image_without_a_parent_takes_nothing_over()
    {
        using var store = new TestStore(_storage);
        using var writer = store.Images.CreateWriter();
        Assert.Throws<InvalidOperationException>(() => writer.AppendFromParent(0, 1, 0, []));
    }

    [Fact]
    public void Two_images_tell_which_pages_are_one()
    {
        using var store = new TestStore(_storage);
        store.Create("parent", ParentMemory);
        CreateLayer(store, "layer", "parent", 10);
        using var parent = store.Images.OpenImage("parent");
        using var layer = store.Images.OpenImage("layer");
        // The layer: 20 pages of the parent, 10 of its own of which the page 28 is zeros and not stored, 20 of the parent again.
        Assert.Equal(20UL, layer.Pages.CompareStored(0, parent.Pages, 0, 100, out var isSame));
        Assert.True(isSame);
        Assert.Equal(9UL, layer.Pages.CompareStored(20 * TestImages.Page, parent.Pages, 21 * TestImages.Page, 100, out isSame));
        Assert.False(isSame);
        Assert.Equal(20UL, layer.Pages.CompareStored(29 * TestImages.Page, parent.Pages, 30 * TestImages.Page, 100, out isSame));
        Assert.True(isSame);
        Assert.Equal(3UL, layer.Pages.CompareStored(0, parent.Pages, TestImages.Page, 3, out isSame));
        Assert.False(isSame);
    }

    private static (byte[] Memory, int Stored) CreateLayer(TestStore store, string name, string parent, int run)
    {
        var (writer, manifest, expected, stored) = Begin(store, parent, run);
        using (writer)
            writer.Commit(name, manifest);
        return (expected, stored);
    }

    private static (ImageWriter Writer, Manifest Manifest, byte[] Memory, int Stored) Begin(TestStore store, string parentName, int run)
    {
        using var parent = store.Images.OpenImage(parentName);
        var inherited = store.Read(parentName);
        var memory = (byte[])inherited.Clone();
        var manifest = TestImages.Manifest((ulong)memory.Length);
        var extents = manifest.Processes[0].Mappings[0].Extents;
        var places = parent.Manifest.Processes[0].Mappings[0].Extents
            .SelectMany(extent => Enumerable.Range(0, (int)extent.PageCount).Select(i => (Page: (int)extent.PageIndex + i, Offset: extent.BlobOffset + ((ulong)i * TestImages.Page))))
            .ToDictionary(place => place.Page, place => place.Offset);
        var writer = store.Images.CreateWriter(parent);
        var stored = 0;
        for (var page = 0; page < Pages; page++)
        {
            var bytes = memory.AsSpan(page * TestImages.Page, TestImages.Page);
            if (page / run % 3 != 2 && places.TryGetValue(page, out var offset))
            {
                writer.AppendFromParent((ulong)page, 1, offset, extents);
                continue;
            }
            TestImages.Pages(page % 29 == 28 ? 0 : 10_000_001 + (run * 100_000) + page).CopyTo(bytes);
            stored++;
            writer.Append((ulong)page, bytes, extents);
        }
        return (writer, manifest, memory, stored);
    }
}
