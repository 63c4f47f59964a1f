using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore;

namespace Snapshots.Host;

/// <summary>The image store of this host, with the system calls that the images room leaves to others.</summary>
public static class HostStore
{
    /// <summary>The system calls that the images room leaves to others.</summary>
    public static StoreFiles Files { get; } = new(DirectoryFlush.Sync, FileLock.Acquire);

    /// <exception cref="ImageException">The directory cannot be made.</exception>
    public static ImageStore Open(string directory) => OpenWhole(directory).Images;

    /// <summary>With the page store, for those who look after it.</summary>
    /// <exception cref="ImageException">The directory cannot be made.</exception>
    public static SnapshotStore OpenWhole(string directory) => SnapshotStore.Open(directory, Files);
}
