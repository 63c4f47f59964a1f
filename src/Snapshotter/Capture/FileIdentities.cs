using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Describes files by what a later restore can compare.</summary>
internal static class FileIdentities
{
    /// <summary>The file that <paramref name="path"/> leads to now; null when there is none.</summary>
    public static FileIdentity? Of(string path) =>
        FileStatus.At(path, followLast: true, out var status) != Errno.None
            ? null
            : new FileIdentity
            {
                Path = path,
                SizeBytes = status.SizeBytes,
                MtimeNs = status.ModifiedNanoseconds,
                Device = status.Device,
                Inode = status.Inode,
                Mode = status.Mode,
            };
}
