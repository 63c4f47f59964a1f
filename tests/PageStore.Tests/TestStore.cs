using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore.Tests;

/// <summary>A store with a page store in a directory of its own, and below a prefix of its own when its packs lie in a bucket. Both go when the test ends.</summary>
internal sealed class TestStore : IDisposable
{
    // How the server calls the file that holds an object.
    private const string ObjectSuffix = "._S3rver_object";

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-pagestore-");
    private readonly Storage _storage;
    private readonly string _objects;

    public TestStore(Storage storage)
    {
        _storage = storage;
        _objects = Root;
        if (storage == Storage.S3)
        {
            var placement = PackPlacement.Parse($"s3://{S3Server.Bucket}/tests/{Path.GetRandomFileName()}", S3Server.Shared.Endpoint, PackPlacement.DefaultRegion, PageStoreLimits.MinCacheBytes);
            _objects = Path.Combine(S3Server.Shared.Objects, placement.Prefix);
            StoreSetup.Place(Root, Files, placement);
        }
        Store = Open();
    }

    public static StoreFiles Files { get; } = new(DirectoryFlush.Sync, FileLock.Acquire);

    public SnapshotStore Store { get; }

    public ImageStore Images => Store.Images;

    public string Root => _directory.FullName;

    /// <summary>Files that hold the packs, wherever they lie.</summary>
    public string[] Packs => [.. ObjectsIn("packs")];

    public string[] Maps => [.. ObjectsIn("maps")];

    public string[] Incoming => Directory.Exists(IncomingFolder) ? Directory.GetFiles(IncomingFolder) : [];

    /// <summary>Manifests, packs and page maps.</summary>
    public long StoredBytes => Directory.GetFiles(Path.Combine(Root, "blobs", "sha256")).Concat(Packs).Concat(Maps).Sum(path => new FileInfo(path).Length);

    private string IncomingFolder => Path.Combine(Root, "domains", "default", "incoming");

    public SnapshotStore Open() => SnapshotStore.Open(Root, Files);

    /// <summary>The file that holds an object: <c>packs/…</c> or <c>maps/…</c>.</summary>
    public string FileOf(string name) => Path.Combine(_objects, "domains", "default", name) + (_storage == Storage.S3 ? ObjectSuffix : string.Empty);

    /// <summary>The name of the object that a file holds.</summary>
    public string NameOf(string file) =>
        Path.GetRelativePath(Path.Combine(_objects, "domains", "default"), _storage == Storage.S3 ? file[..^ObjectSuffix.Length] : file);

    /// <summary>How messages call the object that a file holds.</summary>
    public string LocationOf(string file) => Store.Pages.Domain("default").Storage.LocationOf(NameOf(file));

    /// <summary>After objects were changed behind the store's back: its cache would hide that.</summary>
    public void DropCache()
    {
        if (Directory.Exists(Path.Combine(Root, "cache")))
            Directory.Delete(Path.Combine(Root, "cache"), recursive: true);
    }

    /// <summary>Commits an image whose one mapping holds these pages; pages of zeros are left out.</summary>
    public SnapshotDigest Create(string name, ReadOnlySpan<byte> memory, int piecePages = 256)
    {
        using var writer = Images.CreateWriter();
        return TestImages.Commit(writer, name, memory, piecePages);
    }

    public byte[] Read(string name) => TestImages.Read(Images, name);

    public void Dispose()
    {
        _directory.Delete(recursive: true);
        if (_objects != Root)
            Directory.Delete(_objects, recursive: true);
    }

    private IEnumerable<string> ObjectsIn(string folder)
    {
        var directory = Path.GetDirectoryName(FileOf($"{folder}/x"))!;
        var files = Directory.Exists(directory) ? Directory.GetFiles(directory) : [];
        return _storage == Storage.S3 ? files.Where(file => file.EndsWith(ObjectSuffix, StringComparison.Ordinal)) : files;
    }
}
