using CsCheck;
using Snapshots.Images;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

public abstract class RoundTripTests
{
    private readonly Storage _storage;

    private protected RoundTripTests(Storage storage) => _storage = storage;

    private const int Page = TestImages.Page;

    [Fact]
    public void Any_pages_come_back_as_they_were_whatever_the_store_holds_already()
    {
        using var store = new TestStore(_storage);
        var gen = Gen.Select(Gen.Int[0, 40].Array[1, 400], Gen.Int[1, 300], Gen.Int.Array[1, 20]);
        gen.Sample((seeds, piecePages, reads) =>
        {
            var memory = TestImages.Pages(seeds);
            store.Create("any", memory, piecePages);
            Assert.Equal(memory, store.Read("any"));
            using var image = store.Images.OpenImage("any");
            Assert.Equal((ulong)seeds.Count(seed => seed != 0) * Page, image.Pages.LengthBytes);
            var space = seeds.Where(seed => seed != 0).ToArray();
            var expected = TestImages.Pages(space);
            foreach (var read in reads)
                AssertRange(image, expected, new Random(read));
        }, iter: 60, threads: 1);
        // Whatever was stored, each page was stored once.
        Assert.Empty(store.Incoming);
    }

    [Fact]
    public void Equal_pages_are_stored_once_within_an_image_and_across_images()
    {
        using var store = new TestStore(_storage);
        var memory = TestImages.Pages(Enumerable.Range(1, 64).Select(i => (i * 2) + 1));
        store.Create("once", memory);
        var bytes = PackBytes(store);
        Assert.InRange(bytes, memory.Length, memory.Length + (64 * 32) + 1024);
        store.Create("again", memory);
        store.Create("twice", [.. memory, .. memory]);
        Assert.Single(store.Packs);
        store.Create("more", [.. memory, .. TestImages.Pages(1001, 1003)]);
        Assert.Equal(2, store.Packs.Length);
        Assert.InRange(PackBytes(store) - bytes, 2 * Page, (2 * Page) + 512);
        Assert.Equal(memory, store.Read("again"));
        Assert.Equal([.. memory, .. memory], store.Read("twice"));
    }

    [Fact]
    public void An_image_without_pages_has_no_pack()
    {
        using var store = new TestStore(_storage);
        store.Create("zeros", new byte[5 * Page]);
        Assert.Empty(store.Packs);
        Assert.Equal(new byte[5 * Page], store.Read("zeros"));
        using var image = store.Images.OpenImage("zeros");
        image.VerifyPages();
        image.Pages.Read(0, []);
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Pages.Read(0, new byte[1]));
    }

    [Fact]
    public void Pages_fill_several_packs()
    {
        using var store = new TestStore(_storage);
        // Small pages to make, many to store: each differs by its first bytes.
        var memory = new byte[(PageStoreLimits.PagesPerPack + 300) * Page];
        for (var page = 0; page < memory.Length / Page; page++)
            BitConverter.TryWriteBytes(memory.AsSpan(page * Page), page + 1);
        store.Create("large", memory);
        Assert.Equal(2, store.Packs.Length);
        Assert.True(memory.AsSpan().SequenceEqual(store.Read("large")));
        using var image = store.Images.OpenImage("large");
        Assert.True(new FileInfo(store.Maps[0]).Length < 200);
    }

    [Fact]
    public void Many_threads_read_one_image()
    {
        using var store = new TestStore(_storage);
        var memory = TestImages.Pages(Enumerable.Range(1, 900));
        store.Create("a", memory);
        using var image = store.Images.OpenImage("a");
        Parallel.For(0, 32, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            var random = new Random(i);
            for (var round = 0; round < 20; round++)
                AssertRange(image, memory, random);
        });
    }

    [Fact]
    public void Images_of_version_1_and_of_page_stores_live_in_one_store()
    {
        using var store = new TestStore(_storage);
        var memory = TestImages.Pages(1, 2, 3);
        using (var writer = ImageStore.Open(store.Root, TestStore.Files).CreateWriter())
            TestImages.Commit(writer, "old", memory);
        store.Create("new", memory);
        Assert.Equal(store.Read("old"), store.Read("new"));
        store.Images.Remove("new");
        Assert.Equal(memory, store.Read("old"));
        store.Create("new", memory);
        store.Images.Remove("old");
        Assert.Equal(memory, store.Read("new"));
        // Without its page store the image is refused, and nothing of it is collected.
        Assert.Equal(ImageFailure.UnsupportedVersion, Assert.Throws<ImageException>(() => ImageStore.Open(store.Root, TestStore.Files).OpenImage("new")).Failure);
    }

    [Fact]
    public void An_image_that_is_open_stays_readable_when_it_is_removed()
    {
        using var store = new TestStore(_storage);
        var memory = TestImages.Pages(Enumerable.Range(1, 50));
        store.Create("a", memory);
        using var image = store.Images.OpenImage("a");
        store.Images.Remove("a");
        // What a bucket has deleted is gone for all: there the reader's claim keeps it.
        Assert.Equal(_storage == Storage.S3 ? 1 : 0, store.Packs.Length);
        var read = new byte[memory.Length];
        image.Pages.Read(0, read);
        Assert.Equal(memory, read);
        image.Dispose();
        GarbageCollection.Run(store.Store);
        Assert.Empty(store.Packs);
        Assert.Empty(store.Incoming);
    }

    private static long PackBytes(TestStore store) => store.Packs.Sum(path => new FileInfo(path).Length);

    private static void AssertRange(SnapshotImage image, byte[] expected, Random random)
    {
        var from = random.Next(expected.Length + 1);
        var read = new byte[random.Next(expected.Length - from + 1)];
        image.Pages.Read((ulong)from, read);
        Assert.True(read.AsSpan().SequenceEqual(expected.AsSpan(from, read.Length)));
    }
}
