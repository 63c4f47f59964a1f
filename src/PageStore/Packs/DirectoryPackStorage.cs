using Microsoft.Win32.SafeHandles;
using Snapshots.Images;

namespace Snapshots.PageStore.Packs;

/// <summary>A pack storage that is a directory, one file for each object. Files to be stored must lie on the same file system.</summary>
/// <param name="root">Exists, with its directories packs and maps, before anything is stored; for reading it may be missing.</param>
internal sealed class DirectoryPackStorage(string root, Action<string> syncDirectory) : IPackStorage
{
    public bool IsRemote => false;

    public IPackStorage Uncached => this;

    public string LocationOf(string name) => PathOf(name);

    public IPackObject? TryOpen(string name, int firstBytes)
    {
        var path = PathOf(name);
        try
        {
            return new OpenedFile(File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), path);
        }
        catch (Exception cause) when (cause is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.NotFound, $"{path}: cannot be opened: {cause.Message}; run as the store's owner", cause);
        }
    }

    public bool Exists(string name) => File.Exists(PathOf(name));

    public IReadOnlyList<StoredObject> List(string prefix)
    {
        var folder = prefix[..(prefix.LastIndexOf('/') + 1)];
        var directory = new DirectoryInfo(PathOf(folder));
        if (!directory.Exists)
            return [];
        var found = new List<StoredObject>();
        foreach (var file in directory.EnumerateFiles(prefix[folder.Length..] + "*"))
        {
            try
            {
                found.Add(new StoredObject(folder + file.Name, file.Length));
            }
            catch (FileNotFoundException)
            {
                // Deleted since it was listed.
            }
        }
        return found;
    }

    public bool PutIfAbsent(string name, string path)
    {
        var target = PathOf(name);
        if (File.Exists(target))
        {
            File.Delete(path);
            return false;
        }
        File.Move(path, target, overwrite: false);
        syncDirectory(Path.GetDirectoryName(target)!);
        return true;
    }

    public void Delete(string name) => File.Delete(PathOf(name));

    private string PathOf(string name) => Path.Combine(root, name);

    private sealed class OpenedFile(SafeFileHandle file, string path) : IPackObject
    {
        public string Location => path;

        public long LengthBytes { get; } = RandomAccess.GetLength(file);

        public void Read(long offset, Span<byte> destination)
        {
            try
            {
                for (int count; !destination.IsEmpty; destination = destination[count..], offset += count)
                {
                    count = RandomAccess.Read(file, destination, offset);
                    if (count == 0)
                        throw new ImageException(ImageFailure.Truncated, $"{path}: ends at {offset}, {destination.Length} bytes early; run `snapshots fsck`");
                }
            }
            catch (IOException cause)
            {
                throw new ImageException(ImageFailure.Truncated, $"{path}: cannot read at {offset}: {cause.Message}; check the disk, then run `snapshots fsck`", cause);
            }
        }

        public void Dispose() => file.Dispose();
    }
}
