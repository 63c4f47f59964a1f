using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Identities of files that a process maps or runs.</summary>
internal static class MappedFile
{
    public static FileIdentity Identity(string path, FileStatus status) => new()
    {
        Path = path,
        SizeBytes = status.SizeBytes,
        MtimeNs = status.ModifiedNanoseconds,
        Device = status.Device,
        Inode = status.Inode,
        Mode = status.Mode,
    };
}
