using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Images.Tests;

/// <summary>A store in a directory of its own that goes when the test ends, and manifests to put into it.</summary>
internal sealed class TestStore : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-store-");

    public TestStore() => Store = Open();

    public ImageStore Store { get; }

    public string Root => _directory.FullName;

    public string Blobs => Path.Combine(Root, "blobs", "sha256");

    public string Incoming => Path.Combine(Root, "incoming");

    public string[] BlobFiles => Directory.GetFiles(Blobs);

    public ImageStore Open() => ImageStore.Open(Root, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));

    /// <summary>Commits an image whose one mapping holds the given pages.</summary>
    public SnapshotDigest Create(string name, ReadOnlySpan<byte> pages, Action<Manifest>? change = null)
    {
        using var writer = Store.CreateWriter();
        var manifest = MinimalManifest((ulong)Math.Max(pages.Length, 4096));
        writer.Append(0, pages, manifest.Processes[0].Mappings[0].Extents);
        change?.Invoke(manifest);
        return writer.Commit(name, manifest);
    }

    public static Manifest MinimalManifest(ulong mappingBytes = 64 * 4096)
    {
        var process = new ProcessImage { Pid = 100, Name = "worker" };
        process.Threads.Add(new ThreadImage { Tid = 100, Registers = ByteString.CopyFrom(new byte[216]), Xstate = ByteString.CopyFrom(new byte[832]) });
        process.Mappings.Add(new Mapping { Start = 0x10000, End = 0x10000 + mappingBytes, Protection = 3, Kind = MappingKind.PrivateAnonymous });
        var manifest = new Manifest();
        manifest.Files.Add(new FileIdentity { Path = "/usr/bin/worker" });
        manifest.Processes.Add(process);
        return manifest;
    }

    public void Dispose() => _directory.Delete(recursive: true);
}
