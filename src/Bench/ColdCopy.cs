using Snapshots.Images;

namespace Snapshots.Bench;

/// <summary>
/// A copy of a store that nobody has read yet. Dropping the page cache is not enough to make a host cold: what lies behind its disk remembers what was
/// read as well, and gives it back a hundred times faster.
/// </summary>
/// <remarks>On the file system of the store; <see cref="Dispose"/> removes it.</remarks>
public sealed class ColdCopy : IDisposable
{
    private readonly string _directory;
    private readonly Func<string, SnapshotImage> _open;

    private ColdCopy(string directory, Func<string, SnapshotImage> open)
    {
        _directory = directory;
        _open = open;
    }

    /// <param name="open">Opens the snapshot in the store whose directory it is given.</param>
    /// <exception cref="BenchException">The page cache cannot be dropped.</exception>
    /// <exception cref="IOException">The disk refused.</exception>
    public static ColdCopy Of(string store, Func<string, SnapshotImage> open)
    {
        var directory = Directory.CreateTempSubdirectory("snapshots-cold-").FullName;
        var onStoreDisk = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(store))!, Path.GetFileName(directory));
        Directory.Delete(directory);
        var copy = new ColdCopy(onStoreDisk, open);
        try
        {
            foreach (var file in Directory.EnumerateFiles(store, "*", SearchOption.AllDirectories))
                Copy(file, Path.Combine(onStoreDisk, Path.GetRelativePath(store, file)));
            DropPageCache();
            return copy;
        }
        catch
        {
            copy.Dispose();
            throw;
        }
    }

    public SnapshotImage Open() => _open(_directory);

    public void Dispose()
    {
        if (Directory.Exists(_directory))
            Directory.Delete(_directory, recursive: true);
    }

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(to)!);
        File.Copy(from, to);
        using var written = File.OpenHandle(to, FileMode.Open, FileAccess.ReadWrite);
        RandomAccess.FlushToDisk(written);
    }

    /// <summary>Everything that no process has mapped, of the whole host: sysctl vm.drop_caches.</summary>
    private static void DropPageCache()
    {
        try
        {
            File.WriteAllText("/proc/sys/vm/drop_caches", "1");
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new BenchException($"/proc/sys/vm/drop_caches: {cause.Message}; run as root of the host, a cold host is measured by dropping its page cache", cause);
        }
    }
}
