using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

/// <summary>Whatever bit flips and wherever a file ends: somebody says so, and no wrong byte is handed out.</summary>
public abstract class DamageTests
{
    private readonly Storage _storage;

    private protected DamageTests(Storage storage) => _storage = storage;

    // Over a bucket each asks a server a dozen times.
    private int Tries => _storage == Storage.S3 ? 200 : 4000;

    [Fact]
    public void Damage_anywhere_in_a_pack_is_found()
    {
        using var store = new TestStore(_storage);
        var memory = TestImages.Memory(1, 100);
        store.Create("a", memory);
        Assert.True(PackName.TryParse(store.NameOf(store.Packs[0]), out var pack));
        var domain = store.Store.Pages.Domain("default");
        var readable = 0;
        Damage(store.Packs[0], 5, () =>
        {
            store.DropCache();
            var found = PackCheck.Run(domain, pack, 0);
            Assert.False(found.IsGood);
            // The page table is of no use to a reader; all else that is damaged stops it, and what it hands out is right.
            try
            {
                Assert.Equal(memory, store.Read("a"));
                readable++;
            }
            catch (ImageException)
            {
                // Found while reading.
            }
        });
        Assert.InRange(readable, 0, Tries / 10);
        Assert.True(PackCheck.Run(domain, pack, 0).IsGood);
    }

    [Fact]
    public void Damage_anywhere_in_a_page_map_is_found()
    {
        using var store = new TestStore(_storage);
        store.Create("b", TestImages.Memory(2, 64));
        store.Create("a", TestImages.Memory(6, 200));
        var map = store.FileOf(MapNames.Of(MapOf(store, "a")));
        Damage(map, 6, () =>
        {
            store.DropCache();
            Assert.Contains(Failure(() => store.Read("a")), new[] { ImageFailure.DigestMismatch, ImageFailure.Truncated });
        });
        store.Read("a");
    }

    [Fact]
    public void Damage_anywhere_in_a_manifest_is_found()
    {
        using var store = new TestStore(_storage);
        var digest = store.Create("a", TestImages.Memory(1, 10));
        Damage(Path.Combine(store.Root, "blobs", "sha256", digest.Hex), 7, () => Assert.Equal(ImageFailure.DigestMismatch, Failure(() => store.Read("a"))));
        store.Read("a");
    }

    [Fact]
    public void Missing_files_are_named()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Memory(1, 10));
        var pack = store.Packs[0];
        File.Move(pack, pack + ".away");
        var failure = Assert.Throws<ImageException>(() => store.Read("a"));
        Assert.Equal(ImageFailure.NotFound, failure.Failure);
        Assert.Contains(Path.GetFileName(pack)[..64], failure.Message, StringComparison.Ordinal);
        File.Move(pack + ".away", pack);
        File.Delete(store.Maps[0]);
        Assert.Equal(ImageFailure.NotFound, Failure(() => store.Read("a")));
        Assert.Equal(ImageFailure.NotFound, Assert.Single(store.Images.List()).Problem!.Failure);
    }

    [Fact]
    public void A_pack_under_the_name_of_another_is_refused()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Pages(1, 3, 5));
        var first = store.Packs[0];
        store.Create("b", TestImages.Pages(7, 9, 11));
        File.Copy(store.Packs.Single(path => path != first), first, overwrite: true);
        Assert.Equal(ImageFailure.DigestMismatch, Failure(() => store.Read("a")));
    }

    private static Sha256Value MapOf(TestStore store, string name)
    {
        using var image = store.Images.OpenImage(name);
        return Sha256Value.Read(image.Manifest.Pages.Map.Sha256.Span);
    }

    /// <summary>Flips one bit, or cuts or lengthens the file; then asks; then makes it good again.</summary>
    private void Damage(string path, int seed, Action ask)
    {
        var good = File.ReadAllBytes(path);
        var random = new Random(seed);
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        for (var round = 0; round < Tries; round++)
        {
            var at = random.Next(good.Length);
            if (round % 4 == 0)
            {
                file.SetLength(round % 8 == 0 ? at : good.Length + 1 + at);
                ask();
                file.SetLength(Math.Min(at, good.Length));
                RandomAccess.Write(file.SafeFileHandle, good.AsSpan(at), at);
                file.SetLength(good.Length);
            }
            else
            {
                RandomAccess.Write(file.SafeFileHandle, [(byte)(good[at] ^ (1 << random.Next(8)))], at);
                ask();
                RandomAccess.Write(file.SafeFileHandle, good.AsSpan(at, 1), at);
            }
        }
        Assert.Equal(good, File.ReadAllBytes(path));
    }

    private static ImageFailure Failure(Func<object> action) => Assert.Throws<ImageException>(action).Failure;
}
