using Snapshots.Images;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Host;

/// <summary>The image store of this host, with the system calls that the images room leaves to others.</summary>
public static class HostStore
{
    /// <exception cref="ImageException">The directory cannot be made.</exception>
    public static ImageStore Open(string directory) => ImageStore.Open(directory, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
}
