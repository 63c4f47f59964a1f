using Google.Protobuf;
using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.Images.Tests;

public sealed class DamageTests
{
    private const int Page = 4096;

    [Fact]
    public void Every_flipped_bit_of_a_manifest_is_found()
    {
        using var store = new TestStore();
        var path = ManifestPath(store, store.Create("a", RoundTripTests.RandomMemory(Page)));
        var good = File.ReadAllBytes(path);
        for (var bit = 0; bit < good.Length * 8; bit++)
        {
            var bad = (byte[])good.Clone();
            bad[bit / 8] ^= (byte)(1 << (bit % 8));
            File.WriteAllBytes(path, bad);
            Assert.Equal(ImageFailure.DigestMismatch, Failure(() => store.Store.OpenImage("a")).Failure);
        }
        File.WriteAllBytes(path, good);
        store.Store.OpenImage("a").Dispose();
    }

    [Fact]
    public void Every_truncation_of_a_manifest_is_found()
    {
        using var store = new TestStore();
        var path = ManifestPath(store, store.Create("a", RoundTripTests.RandomMemory(Page)));
        var good = File.ReadAllBytes(path);
        for (var length = 0; length < good.Length; length++)
        {
            File.WriteAllBytes(path, good[..length]);
            var found = Failure(() => store.Store.OpenImage("a"));
            Assert.Equal(ImageFailure.DigestMismatch, found.Failure);
            Assert.Contains(path, found.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Flipped_bits_and_truncations_of_the_pages_are_found()
    {
        using var store = new TestStore();
        var memory = RoundTripTests.RandomMemory((1024 * 1024) + (3 * Page));
        store.Create("a", memory);
        var path = PagesPath(store, "a");
        using (var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            var random = new Random(3);
            for (var sample = 0; sample < 150; sample++)
            {
                var at = random.Next(memory.Length);
                Poke(file, at, (byte)(memory[at] ^ (1 << random.Next(8))));
                using var image = store.Store.OpenImage("a");
                // Whole, by way of the segment around it, and not at all when the damage is elsewhere.
                Assert.Equal(ImageFailure.DigestMismatch, Failure(() => image.VerifyPages()).Failure);
                Assert.Equal(ImageFailure.DigestMismatch, Failure(() => image.Pages.Read((ulong)(at & ~(Page - 1)), new byte[Page])).Failure);
                Poke(file, at, memory[at]);
            }
        }
        foreach (var length in new[] { 0, 1, Page, memory.Length - Page, memory.Length - 1 })
        {
            File.WriteAllBytes(path, memory[..length]);
            Assert.Equal(ImageFailure.Truncated, Failure(() => store.Store.OpenImage("a")).Failure);
        }
        File.WriteAllBytes(path, [.. memory, 0]);
        Assert.Equal(ImageFailure.Truncated, Failure(() => store.Store.OpenImage("a")).Failure);
    }

    [Fact]
    public void A_page_file_cut_after_it_was_opened_is_found()
    {
        using var store = new TestStore();
        store.Create("a", RoundTripTests.RandomMemory(4 * Page));
        using var image = store.Store.OpenImage("a");
        using (var file = new FileStream(PagesPath(store, "a"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            file.SetLength(Page);
        Assert.Equal(ImageFailure.Truncated, Failure(() => image.Pages.Read(0, new byte[Page])).Failure);
    }

    [Fact]
    public void Missing_files_are_named()
    {
        using var store = new TestStore();
        var digest = store.Create("a", RoundTripTests.RandomMemory(Page));
        var pages = PagesPath(store, "a");
        File.Delete(pages);
        var missing = Failure(() => store.Store.OpenImage("a"));
        Assert.Equal(ImageFailure.NotFound, missing.Failure);
        Assert.Contains(pages, missing.Message, StringComparison.Ordinal);
        File.Delete(ManifestPath(store, digest));
        Assert.Equal(ImageFailure.NotFound, Failure(() => store.Store.OpenImage("a")).Failure);
        Assert.Equal(ImageFailure.NotFound, Failure(() => store.Store.OpenImage("b")).Failure);
        Assert.Equal(ImageFailure.NotFound, Assert.Single(store.Store.List()).Problem!.Failure);
    }

    [Fact]
    public void A_name_file_without_a_digest_is_refused()
    {
        using var store = new TestStore();
        File.WriteAllText(Path.Combine(store.Root, "names", "a"), "sha256:../../etc/passwd\n");
        Assert.Equal(ImageFailure.Malformed, Failure(() => store.Store.OpenImage("a")).Failure);
        File.WriteAllText(Path.Combine(store.Root, "names", "a"), new string('x', 1000));
        Assert.Equal(ImageFailure.LimitExceeded, Failure(() => store.Store.OpenImage("a")).Failure);
    }

    [Fact]
    public void A_newer_version_is_refused_by_name()
    {
        using var store = new TestStore();
        using var image = OpenForged(store, manifest => manifest.FormatVersion = ImageLimits.FormatVersion + 1, out var failure);
        Assert.Equal(ImageFailure.UnsupportedVersion, failure!.Failure);
    }

    [Fact]
    public void Bytes_that_are_no_manifest_are_refused()
    {
        using var store = new TestStore();
        Assert.Equal(ImageFailure.Malformed, Forge(store, [0xff, 0xff, 0xff]).Failure);
        Assert.Equal(ImageFailure.Malformed, Forge(store, []).Failure);
    }

    /// <summary>What an attacker who can compute digests might try: each is refused although every digest is right.</summary>
    public static TheoryData<string, Action<Manifest>> Forgeries => new()
    {
        { "layer.parent_sha256", manifest => manifest.Layer = new LayerOrigin { ParentSha256 = ByteString.CopyFrom(new byte[31]) } },
        { "layer.parent_name", manifest => manifest.Layer = new LayerOrigin { ParentSha256 = ByteString.CopyFrom(new byte[32]), ParentName = "../other" } },
        { "no version", m => m.FormatVersion = 0 },
        { "no pages", m => m.Pages = null },
        { "short page digest", m => m.Pages.Sha256 = ByteString.CopyFrom(1, 2) },
        { "odd length", m => m.Pages.LengthBytes++ },
        { "zero segments", m => m.Pages.SegmentBytes = 0 },
        { "odd segments", m => m.Pages.SegmentBytes = 4096 * 3 },
        { "huge segments", m => m.Pages.SegmentBytes = 1u << 31 },
        { "missing segment digest", m => m.Pages.SegmentSha256.Clear() },
        { "short segment digest", m => m.Pages.SegmentSha256[0] = ByteString.Empty },
        { "relative file", m => m.Files[0].Path = "etc/passwd" },
        { "NUL in a file", m => m.Files[0].Path = "/etc\0" },
        { "no process", m => m.Processes.Clear() },
        { "pid 0", m => m.Processes[0].Pid = 0 },
        { "exe out of range", m => m.Processes[0].ExeFile = 1 },
        { "no thread", m => m.Processes[0].Threads.Clear() },
        { "other main thread", m => m.Processes[0].Threads[0].Tid = 101 },
        { "thread twice", m => m.Processes[0].Threads.Add(m.Processes[0].Threads[0].Clone()) },
        { "short registers", m => m.Processes[0].Threads[0].Registers = ByteString.Empty },
        { "short vector state", m => m.Processes[0].Threads[0].Xstate = ByteString.CopyFrom(new byte[512]) },
        { "kernel address", m => m.Processes[0].Threads[0].RobustListHead = 0xffff_8000_0000_0000 },
        { "short siginfo", m => m.Processes[0].PendingSignals.Add(ByteString.CopyFrom(1)) },
        { "signal 65", m => m.Processes[0].SignalActions.Add(new SignalAction { Signal = 65 }) },
        { "resource 16", m => m.Processes[0].Limits.Add(new ResourceLimit { Resource = 16 }) },
        { "three uids", m => m.Processes[0].Credentials = new Credentials { Uids = { 0, 0, 0 }, Gids = { 0, 0, 0, 0 } } },
        { "brk below its start", m => m.Processes[0].Layout = new AddressSpaceLayout { StartBrk = 0x2000, Brk = 0x1000 } },
        { "unaligned mapping", m => m.Processes[0].Mappings[0].Start++ },
        { "empty mapping", m => m.Processes[0].Mappings[0].End = m.Processes[0].Mappings[0].Start },
        { "mapping beyond user space", m => m.Processes[0].Mappings[0].End = 0x8000_0000_0000 },
        { "overlapping mappings", m => m.Processes[0].Mappings.Add(m.Processes[0].Mappings[0].Clone()) },
        { "unknown protection", m => m.Processes[0].Mappings[0].Protection = 8 },
        { "unknown kind", m => m.Processes[0].Mappings[0].Kind = (MappingKind)99 },
        { "no kind", m => m.Processes[0].Mappings[0].Kind = MappingKind.Unspecified },
        { "file out of range", m => { m.Processes[0].Mappings[0].Kind = MappingKind.PrivateFile; m.Processes[0].Mappings[0].File = 1; } },
        { "unaligned file offset", m => m.Processes[0].Mappings[0].FileOffset = 1 },
        { "unknown shared memory", m => { m.Processes[0].Mappings[0].Extents.Clear(); m.Processes[0].Mappings[0].Kind = MappingKind.SharedMemory; } },
        { "pages of a shared file", m => m.Processes[0].Mappings[0].Kind = MappingKind.SharedFile },
        { "long VmFlag", m => m.Processes[0].Mappings[0].VmFlags.Add("rd wr") },
        { "extent beyond the mapping", m => m.Processes[0].Mappings[0].Extents[0].PageIndex = 4 },
        { "extent that wraps around", m => { m.Processes[0].Mappings[0].Extents[0].PageIndex = 1; m.Processes[0].Mappings[0].Extents[0].PageCount = ulong.MaxValue; } },
        { "extent without pages", m => m.Processes[0].Mappings[0].Extents[0].PageCount = 0 },
        { "extent beyond the pages", m => m.Processes[0].Mappings[0].Extents[0].BlobOffset = 4096 },
        { "extent that wraps around the pages", m => m.Processes[0].Mappings[0].Extents[0].BlobOffset = 0xffff_ffff_ffff_f000 },
        { "unaligned extent", m => m.Processes[0].Mappings[0].Extents[0].BlobOffset = 1 },
        { "overlapping extents", m => m.Processes[0].Mappings[0].Extents.Add(m.Processes[0].Mappings[0].Extents[0].Clone()) },
        { "shared memory id 0", m => m.SharedMemory.Add(new SharedMemory()) },
        { "extent beyond shared memory", m => m.SharedMemory.Add(new SharedMemory { Id = 1, SizeBytes = 4096, Extents = { new PageExtent { PageIndex = 1, PageCount = 1 } } }) },
        { "enormous shared memory", m => m.SharedMemory.Add(new SharedMemory { Id = 1, SizeBytes = ulong.MaxValue }) },
        { "descriptor without open file", m => m.Processes[0].Descriptors.Add(new DescriptorEntry { Fd = 3, OpenFile = 9 }) },
        { "enormous descriptor", m => Open(m, new OpenFile { EventFd = new EventFd() }, fd: uint.MaxValue) },
        { "open file without kind", m => Open(m, new OpenFile()) },
        { "regular file out of range", m => Open(m, new OpenFile { Regular = new RegularFile { File = 1 } }) },
        { "unknown pipe", m => Open(m, new OpenFile { Pipe = new PipeEnd { Pipe = 1 } }) },
        { "overfull pipe", m => m.Processes[0].Pipes.Add(new Pipe { Id = 1, CapacityBytes = 1, Contents = ByteString.CopyFrom(1, 2) }) },
        { "unknown memfd", m => Open(m, new OpenFile { MemFd = new MemFd { SharedMemory = 1 } }) },
        { "epoll of nothing", m => Open(m, new OpenFile { Epoll = new Epoll { Interests = { new EpollInterest { OpenFile = 9 } } } }) },
        { "relative watch", m => Open(m, new OpenFile { Inotify = new Inotify { Watches = { new InotifyWatch { Path = "x" } } } }) },
        { "unknown peer", m => Open(m, new OpenFile { UnixSocket = new UnixSocket { PeerOpenFile = 9 } }) },
        { "long socket name", m => Open(m, new OpenFile { UnixSocket = new UnixSocket { Name = ByteString.CopyFrom(new byte[109]) } }) },
        { "strange family", m => Open(m, new OpenFile { InetSocket = new InetSocket { Family = 3 } }) },
        { "short address", m => Open(m, new OpenFile { InetSocket = new InetSocket { Family = 10, Bound = true, LocalAddress = ByteString.CopyFrom(new byte[4]) } }) },
        { "port 65536", m => Open(m, new OpenFile { InetSocket = new InetSocket { Family = 2, LocalPort = 65536 } }) },
        { "unknown role", m => Open(m, new OpenFile { External = new External() }) },
    };

    [Theory(DisableDiscoveryEnumeration = true)]
    [MemberData(nameof(Forgeries))]
    public void A_forged_manifest_is_refused(string forgery, Action<Manifest> forge)
    {
        using var store = new TestStore();
        using var image = OpenForged(store, forge, out var failure);
        Assert.True(failure?.Failure is ImageFailure.Malformed or ImageFailure.LimitExceeded, $"{forgery}: {failure?.Message ?? "was accepted"}");
    }

    [Fact]
    public void What_a_reader_would_refuse_is_not_written()
    {
        using var store = new TestStore();
        var refused = Failure(() => store.Create("a", new byte[Page], manifest => manifest.Processes[0].Pid = 0));
        Assert.Equal(ImageFailure.Malformed, refused.Failure);
        Assert.Empty(store.BlobFiles);
        Assert.Empty(Directory.GetFiles(store.Incoming));
        Assert.Empty(store.Store.List());
    }

    private static void Open(Manifest manifest, OpenFile file, uint fd = 3)
    {
        file.Id = 1;
        manifest.Processes[0].OpenFiles.Add(file);
        manifest.Processes[0].Descriptors.Add(new DescriptorEntry { Fd = fd, OpenFile = 1 });
    }

    // Takes a good image, changes its manifest, and puts it in place under its right digest.
    private static SnapshotImage? OpenForged(TestStore store, Action<Manifest> forge, out ImageException? failure)
    {
        store.Create("good", RoundTripTests.RandomMemory(Page));
        Manifest manifest;
        using (var good = store.Store.OpenImage("good"))
            manifest = good.Manifest.Clone();
        forge(manifest);
        try
        {
            failure = null;
            return store.Store.OpenImage(Plant(store, manifest.ToByteArray()));
        }
        catch (ImageException refused)
        {
            failure = refused;
            return null;
        }
    }

    private static ImageException Forge(TestStore store, byte[] manifest) => Failure(() => store.Store.OpenImage(Plant(store, manifest)));

    private static string Plant(TestStore store, byte[] manifest)
    {
        var digest = SnapshotDigest.Of(manifest);
        File.WriteAllBytes(Path.Combine(store.Blobs, digest.Hex), manifest);
        return digest.ToString();
    }

    private static void Poke(FileStream file, int at, byte value)
    {
        file.Position = at;
        file.WriteByte(value);
        file.Flush();
    }

    private static ImageException Failure(Action action) => Assert.Throws<ImageException>(action);

    private static ImageException Failure(Func<SnapshotImage> action) => Assert.Throws<ImageException>(() => action().Dispose());

    private static string ManifestPath(TestStore store, SnapshotDigest digest) => Path.Combine(store.Blobs, digest.Hex);

    private static string PagesPath(TestStore store, string name)
    {
        using var image = store.Store.OpenImage(name);
        return Path.Combine(store.Blobs, Convert.ToHexStringLower(image.Manifest.Pages.Sha256.Span));
    }
}
