namespace Snapshots.PageStore.Packs;

/// <summary>An object in a pack storage. <c>Name</c> is <c>packs/…</c> or <c>maps/…</c>.</summary>
public readonly record struct StoredObject(string Name, long LengthBytes);

/// <summary>An object opened for ranged reads. Safe for use by several threads.</summary>
public interface IPackObject : IDisposable
{
    /// <summary>For messages: file or address.</summary>
    string Location { get; }

    long LengthBytes { get; }

    /// <summary>Fills <paramref name="destination"/> from <paramref name="offset"/> on.</summary>
    /// <exception cref="Images.ImageException">Truncated: the object ends before, or cannot be read.</exception>
    void Read(long offset, Span<byte> destination);

    /// <summary>
    /// As <see cref="Read"/>, but past whatever keeps copies on the way, and the copies go: for contents that were found damaged. False, with nothing read,
    /// when there are none, so that reading again would give the same.
    /// </summary>
    /// <exception cref="Images.ImageException">Truncated.</exception>
    bool ReadAnew(long offset, Span<byte> destination) => false;
}

/// <summary>
/// Where packs and page maps lie: a directory here, an object store elsewhere. Objects are written once and never changed. Safe for use by several threads
/// and processes; that nothing is deleted while somebody counts on it is the business of the callers (docs/page-store.md).
/// </summary>
public interface IPackStorage
{
    /// <summary>
    /// Storing takes as long as the bytes take to get there, so it is not done under the store's lock; and what is deleted is gone for those who have it open,
    /// so that readers claim what they read. Otherwise storing is a rename, and open objects outlive their removal.
    /// </summary>
    bool IsRemote { get; }

    /// <summary>The same objects as the storage has them, past any cache: for those who look for damage.</summary>
    IPackStorage Uncached { get; }

    /// <summary>For messages: where an object lies or would lie.</summary>
    string LocationOf(string name);

    /// <summary>null when there is no such object. An object that is open stays readable, or its reads fail as Truncated, when it is deleted.</summary>
    /// <param name="firstBytes">How much of its beginning is read next; a remote storage fetches that as it finds the object.</param>
    /// <exception cref="Images.ImageException">NotFound: it is there and cannot be opened, or nobody can tell.</exception>
    IPackObject? TryOpen(string name, int firstBytes = 0);

    /// <exception cref="Images.ImageException">NotFound: nobody can tell.</exception>
    bool Exists(string name);

    /// <summary>All objects whose name begins so; the prefix names a folder, or goes on into a name.</summary>
    /// <exception cref="Images.ImageException">NotFound: they cannot be listed.</exception>
    IReadOnlyList<StoredObject> List(string prefix);

    /// <summary>Stores a file, which is flushed already and goes away, under a name; durable when this returns. False, with nothing changed but the file gone, when the name is taken.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    /// <exception cref="Images.ImageException">WriteFailed: the remote storage refused.</exception>
    bool PutIfAbsent(string name, string path);

    /// <summary>Nothing happens when there is none.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    /// <exception cref="Images.ImageException">WriteFailed: the remote storage refused.</exception>
    void Delete(string name);
}
