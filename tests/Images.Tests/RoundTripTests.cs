using CsCheck;
using Google.Protobuf.Collections;
using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.Images.Tests;

public sealed class RoundTripTests
{
    private const int Page = 4096;

    [Fact]
    public void Pages_come_back_as_they_were_and_zeros_are_not_stored()
    {
        using var store = new TestStore();
        // Each page is zeros or one repeated byte; appended in pieces; read back in random ranges.
        var gen = Gen.Select(Gen.Byte[0, 3].Array[1, 600], Gen.Int[1, 300], Gen.Int.Array[1, 20]);
        gen.Sample((fills, piecePages, seeds) =>
        {
            var memory = new byte[fills.Length * Page];
            for (var i = 0; i < fills.Length; i++)
                memory.AsSpan(i * Page, Page).Fill(fills[i]);
            var extents = Write(store, memory, piecePages, out var digest);
            using var image = store.Store.OpenImage(digest.ToString());
            Assert.Equal((ulong)fills.Count(fill => fill != 0) * Page, image.Pages.LengthBytes);
            Assert.Equal(memory, Assemble(image, extents, memory.Length));
            foreach (var seed in seeds)
                AssertRange(image, extents, memory, seed);
        }, iter: 25, threads: 1);
    }

    [Fact]
    public void Adjacent_extents_are_joined_even_across_calls_and_segments()
    {
        using var store = new TestStore();
        var memory = new byte[700 * Page];
        memory.AsSpan().Fill(1);
        memory.AsSpan(10 * Page, 5 * Page).Clear();
        var extents = Write(store, memory, piecePages: 3, out _);
        Assert.Equal([new PageExtent { PageIndex = 0, PageCount = 10, BlobOffset = 0 }, new PageExtent { PageIndex = 15, PageCount = 685, BlobOffset = 10 * Page }], extents);
    }

    [Fact]
    public void A_page_with_one_byte_at_its_end_is_stored()
    {
        using var store = new TestStore();
        var memory = new byte[2 * Page];
        memory[^1] = 1;
        var extents = Write(store, memory, piecePages: 2, out _);
        Assert.Equal([new PageExtent { PageIndex = 1, PageCount = 1, BlobOffset = 0 }], extents);
    }

    [Fact]
    public void The_manifest_comes_back_as_it_was()
    {
        using var store = new TestStore();
        Manifest? committed = null;
        var digest = store.Create("a", new byte[Page], manifest => committed = manifest);
        using var image = store.Store.OpenImage("a");
        Assert.Equal((digest, "a"), (image.Digest, image.Name));
        Assert.Equal(committed, image.Manifest);
        Assert.Equal(ImageLimits.PageFileVersion, image.Manifest.FormatVersion);
        Assert.Equal(0u, image.Pages.LengthBytes);
        image.VerifyPages();
    }

    [Fact]
    public void Many_threads_read_one_image()
    {
        using var store = new TestStore();
        var memory = RandomMemory(5 * 1024 * 1024);
        store.Create("a", memory);
        using var image = store.Store.OpenImage("a");
        Parallel.For(0, 64, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            var random = new Random(i);
            for (var round = 0; round < 20; round++)
            {
                var offset = random.Next(memory.Length);
                var buffer = new byte[random.Next(memory.Length - offset)];
                image.Pages.Read((ulong)offset, buffer);
                Assert.True(buffer.AsSpan().SequenceEqual(memory.AsSpan(offset, buffer.Length)));
            }
        });
    }

    [Fact]
    public void Reading_outside_the_blob_is_refused()
    {
        using var store = new TestStore();
        store.Create("a", RandomMemory(Page));
        using var image = store.Store.OpenImage("a");
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Pages.Read(1, new byte[Page]));
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Pages.Read(ulong.MaxValue, new byte[1]));
        image.Pages.Read(Page, []);
    }

    internal static byte[] RandomMemory(int length)
    {
        var memory = new byte[length];
        new Random(7).NextBytes(memory);
        return memory;
    }

    private static RepeatedField<PageExtent> Write(TestStore store, byte[] memory, int piecePages, out SnapshotDigest digest)
    {
        using var writer = store.Store.CreateWriter();
        var manifest = TestStore.MinimalManifest((ulong)memory.Length);
        var extents = manifest.Processes[0].Mappings[0].Extents;
        for (var offset = 0; offset < memory.Length; offset += piecePages * Page)
            writer.Append((ulong)(offset / Page), memory.AsSpan(offset, Math.Min(piecePages * Page, memory.Length - offset)), extents);
        digest = writer.Commit("round-trip", manifest);
        return extents;
    }

    private static byte[] Assemble(SnapshotImage image, RepeatedField<PageExtent> extents, int length)
    {
        var memory = new byte[length];
        foreach (var extent in extents)
            image.Pages.Read(extent.BlobOffset, memory.AsSpan((int)extent.PageIndex * Page, (int)extent.PageCount * Page));
        return memory;
    }

    // A range within one extent, neither end at a page.
    private static void AssertRange(SnapshotImage image, RepeatedField<PageExtent> extents, byte[] memory, int seed)
    {
        if (extents.Count == 0)
            return;
        var random = new Random(seed);
        var extent = extents[random.Next(extents.Count)];
        var from = random.Next((int)extent.PageCount * Page);
        var buffer = new byte[random.Next(((int)extent.PageCount * Page) - from + 1)];
        image.Pages.Read(extent.BlobOffset + (ulong)from, buffer);
        Assert.True(buffer.AsSpan().SequenceEqual(memory.AsSpan(((int)extent.PageIndex * Page) + from, buffer.Length)));
    }
}
