using Snapshots.Images;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Tests;

/// <summary>An image store in a temporary directory.</summary>
internal sealed class TestStore : IDisposable
{
    private readonly DirectoryInfo _root = Directory.CreateTempSubdirectory("snapshots-store-");

    public TestStore() => Store = ImageStore.Open(_root.FullName, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));

    public ImageStore Store { get; }

    public void Dispose() => _root.Delete(recursive: true);
}
