using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.RestorePool.Clones;

/// <summary>
/// The files beneath the sockets that clones mount over their paths. That is the stale socket file of the frozen worker as a rule; where it was
/// removed, an empty file stands in for it as long as a clone of this engine needs it, and goes with the last one.
/// </summary>
/// <remarks>
/// It must outlive the clones: removing a file takes the mounts upon it away in every namespace (mount_namespaces(7)). Thread-safe.
/// </remarks>
internal sealed class SocketPlaceholders
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Placeholder> _made = new(StringComparer.Ordinal);

    /// <summary>Makes sure that every path has a file until the lease is disposed of. Null when none is ours.</summary>
    /// <remarks>A file that cannot be made is not reported here: the clone's own mount over it fails, and names the path.</remarks>
    public IDisposable? Take(IReadOnlyList<string> paths)
    {
        if (paths.Count == 0)
            return null;
        lock (_gate)
        {
            var taken = paths.Select(KnownOrMade).OfType<Placeholder>().ToList();
            taken.ForEach(placeholder => placeholder.Users++);
            return taken.Count == 0 ? null : new Lease(this, taken);
        }
    }

    /// <summary>The placeholder of ours at <paramref name="path"/>, made now if nothing stands there; null when something else does.</summary>
    private Placeholder? KnownOrMade(string path)
    {
        if (_made.TryGetValue(path, out var known) && known.IsInPlace)
            return known;
        if (FileStatus.At(path, followLast: true, out _) != Errno.ENOENT || Placeholder.Make(path) is not { } made)
            return null;
        _made[path] = made; // Whoever removed the one before has taken the mounts upon it away.
        return made;
    }

    private void Return(List<Placeholder> placeholders)
    {
        lock (_gate)
        {
            foreach (var placeholder in placeholders.Where(placeholder => --placeholder.Users == 0))
            {
                if (placeholder.IsInPlace)
                    File.Delete(placeholder.Path);
                if (_made.GetValueOrDefault(placeholder.Path) == placeholder)
                    _made.Remove(placeholder.Path);
            }
        }
    }

    private sealed class Placeholder(string path, FileStatus status)
    {
        public string Path { get; } = path;

        public int Users { get; set; }

        /// <summary>Whether it is still what stands at its path, as empty as it was made.</summary>
        public bool IsInPlace =>
            FileStatus.At(Path, followLast: false, out var now) == Errno.None && (now.Device, now.Inode, now.SizeBytes) == (status.Device, status.Inode, 0);

        public static Placeholder? Make(string path)
        {
            try
            {
                using var file = new FileStream(path, new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.Write,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                });
                return new Placeholder(path, FileStatus.Of(file.SafeFileHandle, path));
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                return null; // Another made it meanwhile, or the clone will say what is wrong with the path.
            }
        }
    }

    private sealed class Lease(SocketPlaceholders owner, List<Placeholder> placeholders) : IDisposable
    {
        private int _returned;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _returned, 1) == 0)
                owner.Return(placeholders);
        }
    }
}
