using Snapshots.Images;

namespace Snapshots.PageStore.Remote;

/// <summary>
/// Says where a store's packs lie.
/// <code>
/// 1. Under the lock: the store has no packs of its own, or has them below the same bucket and prefix already.
/// 2. Write packs.json.new, with the identity that the store has, or that an earlier try has written there, or a new one.
/// 3. Claim the prefix: PREFIX/owner is put if it is free, and read back.
/// 4. Rename packs.json.new to packs.json. From now on every opener finds the packs there.
/// </code>
/// Killed anywhere before 4 the store is as it was, and the same call finishes.
/// </summary>
public static class StoreSetup
{
    private const string NewSuffix = ".new";

    /// <param name="wanted">Its identity is not used when the store has one.</param>
    /// <returns>As it was written.</returns>
    /// <exception cref="ImageException">WriteFailed: packs lie elsewhere, or the prefix is another store's, or disk or object store refuse; Malformed and others: the file that is there cannot be read.</exception>
    public static PackPlacement Place(string directory, StoreFiles files, PackPlacement wanted)
    {
        var root = ImageStore.Open(directory, files).Root;
        var path = Path.Combine(root, PackPlacement.FileName);
        try
        {
            using (files.Lock(Path.Combine(root, "lock")))
            {
                var old = PackPlacement.TryRead(path);
                if (old is not null && old.Address != wanted.Address)
                    throw new ImageException(ImageFailure.WriteFailed, $"{root}: its packs lie in {old.Address}; use another store for {wanted.Address}, and move snapshots with `snapshots export` and `import`");
                if (old is null && HasPacks(root))
                    throw new ImageException(ImageFailure.WriteFailed, $"{root}: holds packs already; use another store for {wanted.Address}, and move snapshots with `snapshots export` and `import`");
                if (EarlierTry(path, wanted.Address) is { } known)
                    wanted = wanted with { StoreId = known.StoreId };
                if (old is not null)
                    wanted = wanted with { StoreId = old.StoreId };
                Write(path + NewSuffix, wanted.Encode());
                new RemoteStorage(wanted, CacheOf(root), S3Times.Default).TakeOwnership();
                File.Move(path + NewSuffix, path, overwrite: true);
                files.SyncDirectory(root);
                return wanted;
            }
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{path}: {cause.Message}; run as the store's owner, and free space on that file system", cause);
        }
    }

    internal static string CacheOf(string root) => Path.Combine(root, "cache");

    private static PackPlacement? EarlierTry(string path, string address)
    {
        try
        {
            return PackPlacement.TryRead(path + NewSuffix) is { } earlier && earlier.Address == address ? earlier : null;
        }
        catch (ImageException)
        {
            return null; // Cut off when it was written: then nothing was claimed with it.
        }
    }

    private static bool HasPacks(string root)
    {
        var domains = new DirectoryInfo(Path.Combine(root, "domains"));
        return domains.Exists && domains.EnumerateFiles("*", SearchOption.AllDirectories).Any(file => file.Directory!.Name is "packs" or "maps");
    }

    private static void Write(string path, byte[] contents)
    {
        using var file = File.OpenHandle(path, FileMode.Create, FileAccess.Write, FileShare.None);
        RandomAccess.Write(file, contents, 0);
        RandomAccess.FlushToDisk(file);
    }
}
