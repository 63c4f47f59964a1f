using System.Diagnostics;
using System.Security.Cryptography;
using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.Images.Tests;

public sealed class StoreTests
{
    private const int Page = 4096;

    [Theory]
    [InlineData("a", true)]
    [InlineData("Thumb.nailer_2-x", true)]
    [InlineData("", false)]
    [InlineData(".", false)]
    [InlineData("..", false)]
    [InlineData(".hidden", false)]
    [InlineData("-rf", false)]
    [InlineData("a/b", false)]
    [InlineData("../names/a", false)]
    [InlineData("a\n", false)]
    [InlineData("a b", false)]
    [InlineData("é", false)]
    [InlineData("sha256:x", false)]
    [InlineData("a\0", false)]
    public void Names_cannot_leave_the_store(string name, bool valid)
    {
        using var store = new TestStore();
        Assert.Equal(valid, ImageStore.IsValidName(name));
        if (valid)
        {
            store.Create(name, new byte[Page]);
            return;
        }
        Assert.Equal(ImageFailure.InvalidName, Failure(() => store.Create(name, new byte[Page])));
        Assert.Equal(ImageFailure.InvalidName, Failure(() => store.Store.OpenImage(name)));
        Assert.Equal(ImageFailure.InvalidName, Failure(() => store.Store.Remove(name)));
    }

    [Fact]
    public void A_name_may_be_as_long_as_the_limit_and_no_longer()
    {
        Assert.True(ImageStore.IsValidName(new string('a', ImageLimits.MaxNameLength)));
        Assert.False(ImageStore.IsValidName(new string('a', ImageLimits.MaxNameLength + 1)));
    }

    [Fact]
    public void Files_are_named_by_what_is_in_them()
    {
        using var store = new TestStore();
        store.Create("a", RoundTripTests.RandomMemory(3 * Page));
        Assert.All(store.BlobFiles, path => Assert.Equal(Path.GetFileName(path), Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)))));
        Assert.Equal(2, store.BlobFiles.Length);
        Assert.Empty(Directory.GetFiles(store.Incoming));
    }

    [Fact]
    public void Two_names_share_pages_until_the_last_goes()
    {
        using var store = new TestStore();
        var memory = RoundTripTests.RandomMemory(2 * Page);
        store.Create("a", memory, manifest => manifest.CreatedUnixMs = 1);
        store.Create("b", memory, manifest => manifest.CreatedUnixMs = 2);
        Assert.Equal(3, store.BlobFiles.Length);
        var first = store.Store.Remove("a");
        Assert.Equal((1, null), (first.RemovedFiles, first.KeptBecause));
        using (var b = store.Store.OpenImage("b"))
            b.VerifyPages();
        var second = store.Store.Remove("b");
        Assert.Equal(2, second.RemovedFiles);
        Assert.True(second.FreedBytes > 2 * Page);
        Assert.Empty(store.BlobFiles);
        Assert.Equal(ImageFailure.NotFound, Failure(() => store.Store.Remove("b")));
    }

    [Fact]
    public void Two_names_of_one_manifest_keep_it_until_the_last_goes()
    {
        using var store = new TestStore();
        Assert.Equal(store.Create("a", new byte[Page]), store.Create("b", new byte[Page]));
        Assert.Equal(0, store.Store.Remove("a").RemovedFiles);
        store.Store.OpenImage("b").Dispose();
    }

    [Fact]
    public void Giving_a_name_to_another_image_removes_the_first()
    {
        using var store = new TestStore();
        var old = store.Create("a", RoundTripTests.RandomMemory(Page));
        using var reader = store.Store.OpenImage("a");
        var now = store.Create("a", RoundTripTests.RandomMemory(2 * Page));
        Assert.NotEqual(old, now);
        Assert.Equal(now, store.Store.Resolve("a"));
        Assert.Equal(2, store.BlobFiles.Length);
        // Whoever had it open still reads it.
        reader.VerifyPages();
    }

    [Fact]
    public void A_damaged_image_is_listed_and_holds_back_the_removal_of_pages()
    {
        using var store = new TestStore();
        var damaged = store.Create("damaged", RoundTripTests.RandomMemory(Page));
        store.Create("good", RoundTripTests.RandomMemory(2 * Page));
        File.WriteAllText(Path.Combine(store.Blobs, damaged.Hex), "x");
        var listings = store.Store.List();
        Assert.Equal(["damaged", "good"], listings.Select(listing => listing.Name));
        Assert.Equal((damaged, null), (listings[0].Digest!.Value, listings[0].Manifest));
        Assert.NotNull(listings[1].Manifest);
        var held = store.Store.Remove("good");
        Assert.Equal(0, held.RemovedFiles);
        Assert.Contains("\"damaged\"", held.KeptBecause, StringComparison.Ordinal);
        Assert.Equal(4, store.Store.Remove("damaged").RemovedFiles);
        Assert.Empty(store.BlobFiles);
    }

    [Fact]
    public void What_a_crashed_writer_left_goes_and_what_a_live_one_writes_stays()
    {
        using var store = new TestStore();
        var leftover = Path.Combine(store.Incoming, "leftover");
        File.WriteAllText(leftover, "half of a page");
        using var writer = store.Store.CreateWriter();
        var manifest = TestStore.MinimalManifest();
        writer.Append(0, RoundTripTests.RandomMemory(Page), manifest.Processes[0].Mappings[0].Extents);
        var again = store.Open();
        Assert.False(File.Exists(leftover));
        Assert.Single(Directory.GetFiles(store.Incoming));
        writer.Commit("a", manifest);
        using var image = again.OpenImage("a");
        image.VerifyPages();
    }

    [Fact]
    public void An_image_that_is_not_committed_leaves_nothing()
    {
        using var store = new TestStore();
        using (var writer = store.Store.CreateWriter())
            writer.Append(0, RoundTripTests.RandomMemory(3 * 1024 * 1024), []);
        Assert.Empty(Directory.GetFiles(store.Incoming));
        Assert.Empty(store.BlobFiles);
    }

    [Fact]
    public void Writers_and_removers_at_the_same_time_never_break_an_image()
    {
        using var store = new TestStore();
        var memory = RoundTripTests.RandomMemory(Page);
        Parallel.For(0, 24, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            // All share one page file, which each removal may want to collect.
            store.Create($"keep-{i}", memory, manifest => manifest.CreatedUnixMs = i + 1);
            store.Create($"go-{i}", memory, manifest => manifest.CreatedUnixMs = 1000 + i);
            store.Store.Remove($"go-{i}");
        });
        var listings = store.Store.List();
        Assert.Equal(24, listings.Count);
        Assert.All(listings, listing => Assert.Null(listing.Problem));
        Assert.Equal(25, store.BlobFiles.Length);
    }

    [Fact]
    public void The_store_is_closed_to_others()
    {
        using var store = new TestStore();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(store.Root));
    }

    [Fact]
    public void A_hundred_megabytes_load_at_the_speed_of_one_hash()
    {
        using var store = new TestStore();
        var memory = RoundTripTests.RandomMemory(100 * 1024 * 1024);
        using var writer = store.Store.CreateWriter();
        var manifest = TestStore.MinimalManifest((ulong)memory.Length);
        var append = Stopwatch.StartNew();
        for (var offset = 0; offset < memory.Length; offset += 256 * Page)
            writer.Append((ulong)(offset / Page), memory.AsSpan(offset, 256 * Page), manifest.Processes[0].Mappings[0].Extents);
        append.Stop();
        var commit = Stopwatch.StartNew();
        writer.Commit("a", manifest);
        commit.Stop();
        using var image = store.Store.OpenImage("a");
        var hash = Stopwatch.StartNew();
        SHA256.HashData(memory);
        hash.Stop();
        var buffer = new byte[300 * Page];
        var load = Stopwatch.StartNew();
        for (var offset = 0; offset < memory.Length; offset += buffer.Length)
            image.Pages.Read((ulong)offset, buffer.AsSpan(0, Math.Min(buffer.Length, memory.Length - offset)));
        load.Stop();
        TestContext.Current.TestOutputHelper!.WriteLine($"append {append.Elapsed.TotalMilliseconds:F0} ms, commit {commit.Elapsed.TotalMilliseconds:F0} ms, load {load.Elapsed.TotalMilliseconds:F0} ms, one hash of the same bytes {hash.Elapsed.TotalMilliseconds:F0} ms");
        // Twice would mean that segments are hashed twice; the rest is for a loaded machine.
        Assert.True(load.Elapsed < (hash.Elapsed * 4) + TimeSpan.FromMilliseconds(500), $"load {load.Elapsed}, hash {hash.Elapsed}");
    }

    private static ImageFailure Failure(Func<object> action) => Assert.Throws<ImageException>(action).Failure;
}
