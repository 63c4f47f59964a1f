using Snapshots.Images;
using Snapshots.Linux.Syscalls;

namespace Snapshots.PageStore.Tests;

/// <summary>A store with a page store in a directory of its own that goes when the test ends.</summary>
internal sealed class TestStore : IDisposable
{
    private readonly DirectoryInfo _directory;

    public TestStore(string? directory = null)
    {
        _directory = directory is null ? Directory.CreateTempSubdirectory("snapshots-pagestore-") : new DirectoryInfo(directory);
        Store = Open();
    }

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
        return TestImages.Commit(writer, name, memory, piecePages);
    }

    public byte[] Read(string name) => TestImages.Read(Images, name);

    public void Dispose() => _directory.Delete(recursive: true);

    private string[] InDomain(string folder) => Directory.Exists(Path.Combine(Domain, folder)) ? Directory.GetFiles(Path.Combine(Domain, folder)) : [];
}
