using Snapshots.Images;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore.Tests.Remote;

/// <summary>A store whose packs lie on a <see cref="FakeS3Server"/>, with time limits that a test can wait for.</summary>
internal sealed class FakeStore : IDisposable
{
    public static readonly S3Times Quick = new(
        Connect: TimeSpan.FromSeconds(2), Attempt: TimeSpan.FromSeconds(3), Stall: TimeSpan.FromSeconds(3), Operation: TimeSpan.FromSeconds(10), LeastBytesPerSecond: 1 << 20, Attempts: 2);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-faults-");

    private readonly S3Times _times;

    public FakeStore(S3Times? times = null)
    {
        _times = times ?? Quick;
        StoreSetup.Place(Root, TestStore.Files, PackPlacement.Parse("s3://farm/one", Server.Endpoint, PackPlacement.DefaultRegion, PageStoreLimits.MinCacheBytes));
        Store = Open();
        Statistics = Store.RemoteStatistics!;
    }

    public FakeS3Server Server { get; } = new();

    public SnapshotStore Store { get; }

    public RemoteStatistics Statistics { get; }

    public string Root => _directory.FullName;

    public string Cache => Path.Combine(Root, "cache");

    public string[] Packs => [.. Server.Objects.Keys.Where(key => key.Contains("/packs/", StringComparison.Ordinal))];

    /// <summary>Reads more of a pack than its header, with which it is opened.</summary>
    public static bool ReadsPack(FakeRequest request) =>
        request.Method == "GET" && request.Key.Contains("/packs/", StringComparison.Ordinal) && request.Headers["Range"] != "bytes=0-127";

    public SnapshotStore Open() => SnapshotStore.Open(Root, TestStore.Files, PackedPages.DefaultDomain, _times);

    public SnapshotDigest Create(string name, byte[] memory)
    {
        using var writer = Store.Images.CreateWriter();
        return TestImages.Commit(writer, name, memory);
    }

    public byte[] Read(string name) => TestImages.Read(Store.Images, name);

    public void DropCache()
    {
        if (Directory.Exists(Cache))
            Directory.Delete(Cache, recursive: true);
    }

    public void Dispose()
    {
        try
        {
            Server.Dispose();
        }
        finally
        {
            _directory.Delete(recursive: true);
        }
    }
}
