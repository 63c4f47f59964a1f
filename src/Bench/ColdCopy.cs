using Snapshots.Images;
using Snapshots.PageStore;

namespace Snapshots.Bench;

/// <summary>
/// A copy of a store that nobody has read yet. Dropping the page cache is not enough to make a host cold: what lies behind its disk remembers what was
/// read as well, and gives it back a hundred times faster.
/// </summary>
/// <remarks>What lies in an object store is not copied: of that the copy has nothing in its disk cache. On the file system of the store; <see cref="Dispose"/> removes it.</remarks>
public sealed class ColdCopy : IDisposable
{
    private readonly string _directory;
    private readonly string _name;
    private readonly Lazy<SnapshotStore> _store;

    private ColdCopy(string directory, Func<string, SnapshotStore> open, string name)
    {
        _directory = directory;
        _name = name;
        _store = new Lazy<SnapshotStore>(() => open(directory));
    }

    /// <summary>Contents of objects that came from the object store so far; null when packs lie on a disk.</summary>
    public long? ReceivedBytes => _store.Value.RemoteStatistics?.ReceivedBytes;

    /// <param name="open">Opens the store in the directory that it is given.</param>
    /// <param name="name">Of the snapshot to open.</param>
    /// <exception cref="BenchException">The page cache cannot be dropped.</exception>
    /// <exception cref="IOException">The disk refused.</exception>
    public static ColdCopy Of(string store, Func<string, SnapshotStore> open, string name)
    {
        var directory = Directory.CreateTempSubdirectory("snapshots-cold-").FullName;
        var onStoreDisk = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(store))!, Path.GetFileName(directory));
        Directory.Delete(directory);
        var copy = new ColdCopy(onStoreDisk, open, name);
        try
        {
            foreach (var file in Directory.EnumerateFiles(store, "*", SearchOption.AllDirectories).Select(path => Path.GetRelativePath(store, path)).Where(IsOfStore))
                Copy(Path.Combine(store, file), Path.Combine(onStoreDisk, file));
            DropPageCache();
            return copy;
        }
        catch
        {
            copy.Dispose();
            throw;
        }
    }

    public SnapshotImage Open() => _store.Value.Images.OpenImage(_name);

    public void Dispose()
    {
        if (Directory.Exists(_directory))
            Directory.Delete(_directory, recursive: true);
    }

    private static bool IsOfStore(string path) =>
        !path.StartsWith("cache/", StringComparison.Ordinal) && !path.Contains("incoming/", StringComparison.Ordinal);

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
