using Snapshots.Images.V1;

namespace Snapshots.Snapshotter.Capture;

/// <summary>The files an image refers to, each once, in the order of first use. Not thread-safe.</summary>
public sealed class FileTable(Manifest manifest)
{
    private readonly Dictionary<(string Path, ulong Device, ulong Inode), uint> _indexes = [];

    /// <summary>Index of <paramref name="identity"/> in <see cref="Manifest.Files"/>; the same path and inode give the same index.</summary>
    public uint IndexOf(FileIdentity identity)
    {
        var key = (identity.Path, identity.Device, identity.Inode);
        if (_indexes.TryGetValue(key, out var index))
            return index;
        index = (uint)manifest.Files.Count;
        manifest.Files.Add(identity);
        _indexes.Add(key, index);
        return index;
    }
}
