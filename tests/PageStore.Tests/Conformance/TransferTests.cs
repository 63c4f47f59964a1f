using System.Buffers.Binary;
using Snapshots.Images;
using Snapshots.PageStore.Maintenance;
using Snapshots.PageStore.Packs;
using Snapshots.PageStore.Transfer;
using Xunit;

namespace Snapshots.PageStore.Tests;

public abstract class TransferTests
{
    private readonly Storage _storage;

    private protected TransferTests(Storage storage) => _storage = storage;

    [Fact]
    public void What_is_exported_comes_back_in_another_store_with_the_digest_that_it_tells()
    {
        using var from = new TestStore(_storage);
        from.Create("other", TestImages.Memory(1, 300));
        from.Create("a", TestImages.Memory(5, 300));
        var path = Path.Combine(from.Root, "a.snapshot");
        var exported = SnapshotExport.Run(from.Store, "a", path);
        Assert.Equal(new FileInfo(path).Length, exported.FileBytes);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        using var to = new TestStore(_storage);
        var imported = SnapshotImport.Run(to.Store, path, null);
        Assert.Equal(exported, imported);
        Assert.Equal(imported.Digest, to.Images.Resolve("a"));
        Assert.Equal(TestImages.Memory(5, 300), to.Read("a"));
        // Where the pages are already, only the manifest and the page map are new.
        var packs = from.Packs;
        SnapshotImport.Run(from.Store, path, "again");
        Assert.Equal(packs, from.Packs);
        Assert.Equal(from.Read("a"), from.Read("again"));
        Assert.Empty(from.Incoming);
    }

    [Fact]
    public void An_image_of_version_1_and_one_without_pages_are_exported_too()
    {
        using var store = new TestStore(_storage);
        using (var writer = ImageStore.Open(store.Root, TestStore.Files).CreateWriter())
            TestImages.Commit(writer, "old", TestImages.Memory(2, 20));
        store.Create("zeros", new byte[4096 * 3]);
        foreach (var name in new[] { "old", "zeros" })
        {
            SnapshotExport.Run(store.Store, name, Path.Combine(store.Root, name));
            SnapshotImport.Run(store.Store, Path.Combine(store.Root, name), "copy-of-" + name);
            Assert.Equal(store.Read(name), store.Read("copy-of-" + name));
        }
    }

    [Fact]
    public void Damage_anywhere_in_the_file_is_found_and_nothing_becomes_visible()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Memory(1, 20));
        var path = Path.Combine(store.Root, "a.snapshot");
        SnapshotExport.Run(store.Store, "a", path);
        var good = File.ReadAllBytes(path);
        store.Images.Remove("a");
        var bad = (byte[])good.Clone();
        var random = new Random(9);
        // The file is what is damaged: where packs lie makes no difference to it.
        for (var round = 0; round < (_storage == Storage.S3 ? 300 : 3000); round++)
        {
            var at = random.Next(good.Length);
            bad[at] ^= (byte)(1 << random.Next(8));
            File.WriteAllBytes(path, round % 5 == 0 ? good[..at] : bad);
            bad[at] = good[at];
            Assert.NotEqual(ImageFailure.WriteFailed, Failure(store, path));
        }
        File.WriteAllBytes(path, [.. good, 0]);
        Assert.Equal(ImageFailure.Truncated, Failure(store, path));
        Assert.Empty(store.Images.List());
        Assert.Empty(store.Packs);
        Assert.Empty(store.Incoming);
        File.WriteAllBytes(path, good);
        SnapshotImport.Run(store.Store, path, null);
        Assert.Empty(StoreCheck.Run(store.Store, repair: false).Problems);
    }

    /// <summary>What somebody might try who can compute checksums.</summary>
    public static TheoryData<string, ImageFailure, Action<byte[]>> Forgeries => new()
    {
        { "another version", ImageFailure.UnsupportedVersion, header => header[8] = 2 },
        { "an enormous manifest", ImageFailure.LimitExceeded, header => BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(12), uint.MaxValue) },
        { "a manifest longer than the file", ImageFailure.Truncated, header => BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(12), 60 << 20) },
        { "an enormous page map", ImageFailure.LimitExceeded, header => BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(16), ulong.MaxValue) },
        { "a page map longer than the file", ImageFailure.Truncated, header => BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(16), 1 << 29) },
        { "a shorter page map", ImageFailure.DigestMismatch, header => BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(16), 40) },
        { "too many packs", ImageFailure.LimitExceeded, header => BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(24), uint.MaxValue) },
        { "one pack more", ImageFailure.Malformed, header => header[24]++ },
        { "an enormous name", ImageFailure.LimitExceeded, header => BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(28), 1 << 20) },
        { "no name", ImageFailure.InvalidName, header => header[28] = 0 },
        { "a name that leaves the store", ImageFailure.InvalidName, header => SetName(header, "../../etc/passwd") },
        { "another manifest", ImageFailure.DigestMismatch, header => header[40] ^= 1 },
    };

    [Theory(DisableDiscoveryEnumeration = true)]
    [MemberData(nameof(Forgeries))]
    public void A_forged_header_is_refused(string forgery, ImageFailure expected, Action<byte[]> forge)
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Memory(1, 20));
        var path = Path.Combine(store.Root, "a.snapshot");
        SnapshotExport.Run(store.Store, "a", path);
        var bytes = File.ReadAllBytes(path);
        forge(bytes);
        BinaryPrimitives.WriteUInt128LittleEndian(bytes.AsSpan(240), FrameCodec.Checksum(bytes.AsSpan(0, 240)));
        File.WriteAllBytes(path, bytes);
        Assert.True(expected == Failure(store, path), forgery);
        Assert.Single(store.Images.List());
    }

    [Fact]
    public void A_forged_pack_is_refused()
    {
        using var store = new TestStore(_storage);
        store.Create("a", TestImages.Memory(1, 20));
        var path = Path.Combine(store.Root, "a.snapshot");
        SnapshotExport.Run(store.Store, "a", path);
        var good = File.ReadAllBytes(path);
        var pack = 256 + BinaryPrimitives.ReadInt32LittleEndian(good.AsSpan(12)) + (int)BinaryPrimitives.ReadInt64LittleEndian(good.AsSpan(16));
        foreach (var (offset, value) in new (int, ulong)[] { (12, 0), (12, 17), (16, 0), (16, uint.MaxValue), (20, 1), (24, ulong.MaxValue), (24, 1UL << 40), (24, 100) })
        {
            var bytes = (byte[])good.Clone();
            if (offset == 24)
                BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(pack + offset), value);
            else
                BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(pack + offset), (uint)value);
            BinaryPrimitives.WriteUInt128LittleEndian(bytes.AsSpan(pack + 112), FrameCodec.Checksum(bytes.AsSpan(pack, 112)));
            File.WriteAllBytes(path, bytes);
            Assert.NotEqual(ImageFailure.WriteFailed, Failure(store, path));
        }
    }

    [Fact]
    public void A_file_that_is_not_there_or_no_snapshot_is_refused()
    {
        using var store = new TestStore(_storage);
        var path = Path.Combine(store.Root, "x");
        Assert.Equal(ImageFailure.NotFound, Failure(store, path));
        File.WriteAllBytes(path, []);
        Assert.Equal(ImageFailure.Truncated, Failure(store, path));
        File.WriteAllBytes(path, new byte[5000]);
        Assert.Equal(ImageFailure.Malformed, Failure(store, path));
        Assert.Equal(ImageFailure.NotFound, Assert.Throws<ImageException>(() => SnapshotExport.Run(store.Store, "nothing", path + "2")).Failure);
        store.Create("a", TestImages.Memory(1, 5));
        Assert.Equal(ImageFailure.WriteFailed, Assert.Throws<ImageException>(() => SnapshotExport.Run(store.Store, "a", "/no/such/directory/a")).Failure);
        Assert.Empty(store.Incoming);
    }

    private static void SetName(byte[] header, string name)
    {
        header[28] = (byte)name.Length;
        System.Text.Encoding.ASCII.GetBytes(name, header.AsSpan(64));
    }

    private static ImageFailure Failure(TestStore store, string path) => Assert.Throws<ImageException>(() => SnapshotImport.Run(store.Store, path, null)).Failure;
}
