using System.Collections.Concurrent;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Elf;

namespace Snapshots.RestorePool.ForkDetection;

/// <summary>
/// What was found in files that snapshots map: their symbol tables are read once for all snapshots of one runtime. A file that was written to since is
/// another one. Thread-safe.
/// </summary>
internal static class InspectedFiles
{
    /// <summary>More are found again each time.</summary>
    private const int MostFiles = 4096;

    private static readonly ConcurrentDictionary<(string Path, ulong Device, ulong Inode, ulong SizeBytes, long ModifiedNanoseconds), ForkDetectingImage?> s_files = new();

    /// <summary>Null for a file that is no ELF file.</summary>
    /// <param name="status">Of the file, as it was looked at just now.</param>
    /// <exception cref="ElfFormatException">It is malformed.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ForkDetectingImage? Inspect(string path, FileStatus status)
    {
        var key = (path, status.Device, status.Inode, status.SizeBytes, status.ModifiedNanoseconds);
        if (s_files.TryGetValue(key, out var known))
            return known;
        using var elf = ElfFile.Open(path);
        var found = elf is null ? null : ForkDetectingImage.Inspect(elf);
        if (s_files.Count < MostFiles)
            s_files[key] = found;
        return found;
    }
}
