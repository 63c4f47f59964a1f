using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;

namespace Snapshots.PageStore.Tests;

/// <summary>A store with a page store in a directory of its own that goes when the test ends.</summary>
internal sealed class TestStore : IDisposable
{
    public const int Page = 4096;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-pagestore-");

    public TestStore() => Store = Open();

    public static StoreFiles Files { get; } = new(DirectoryFlush.Sync, FileLock.Acquire);

    public SnapshotStore Store { get; }

    public ImageStore Images => Store.Images;

    public string Root => _directory.FullName;

    public string Domain => Path.Combine(Root, "domains", "default");

    public string[] Packs => InDomain("packs");

    public string[] Maps => InDomain("maps");

    public string[] Incoming => InDomain("incoming");

    public SnapshotStore Open() => SnapshotStore.Open(Root, Files);

    /// <summary>Commits an image whose one mapping holds these pages; pages of zeros are left out.</summary>
    public SnapshotDigest Create(string name, ReadOnlySpan<byte> memory, int piecePages = 256)
    {
        using var writer = Images.CreateWriter();
        return Commit(writer, name, memory, piecePages);
    }

    public static SnapshotDigest Commit(ImageWriter writer, string name, ReadOnlySpan<byte> memory, int piecePages = 256)
    {
        var manifest = Manifest((ulong)Math.Max(memory.Length, Page));
        var extents = manifest.Processes[0].Mappings[0].Extents;
        for (var at = 0; at < memory.Length; at += piecePages * Page)
            writer.Append((ulong)(at / Page), memory.Slice(at, Math.Min(piecePages * Page, memory.Length - at)), extents);
        return writer.Commit(name, manifest);
    }

    /// <summary>The memory that was given to Create, read back through the extents.</summary>
    public static byte[] Read(ImageStore images, string name)
    {
        using var image = images.OpenImage(name);
        var mapping = image.Manifest.Processes[0].Mappings[0];
        var memory = new byte[mapping.End - mapping.Start];
        foreach (var extent in mapping.Extents)
            image.Pages.Read(extent.BlobOffset, memory.AsSpan((int)extent.PageIndex * Page, (int)extent.PageCount * Page));
        return memory;
    }

    public byte[] Read(string name) => Read(Images, name);

    /// <summary>Pages that differ by their seeds and compress somewhat; seed 0 is a page of zeros, odd seeds do not compress.</summary>
    public static byte[] Pages(params IEnumerable<int> seeds)
    {
        var memory = new MemoryStream();
        var page = new byte[Page];
        foreach (var seed in seeds)
        {
            var random = new Random(seed);
            if (seed == 0)
                page.AsSpan().Clear();
            else if (seed % 2 == 1)
                random.NextBytes(page);
            else
                page.AsSpan().Fill((byte)random.Next(1, 256));
            if (seed != 0)
                BitConverter.TryWriteBytes(page, seed);
            memory.Write(page);
        }
        return memory.ToArray();
    }

    public static Manifest Manifest(ulong mappingBytes)
    {
        var process = new ProcessImage { Pid = 100, Name = "worker" };
        process.Threads.Add(new ThreadImage { Tid = 100, Registers = ByteString.CopyFrom(new byte[216]), Xstate = ByteString.CopyFrom(new byte[832]) });
        process.Mappings.Add(new Mapping { Start = 0x10000, End = 0x10000 + mappingBytes, Protection = 3, Kind = MappingKind.PrivateAnonymous });
        var manifest = new Manifest { CreatedUnixMs = 1_700_000_000_000 };
        manifest.Files.Add(new FileIdentity { Path = "/usr/bin/worker" });
        manifest.Processes.Add(process);
        return manifest;
    }

    public void Dispose() => _directory.Delete(recursive: true);

    private string[] InDomain(string folder) => Directory.Exists(Path.Combine(Domain, folder)) ? Directory.GetFiles(Path.Combine(Domain, folder)) : [];
}
