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
}

/// <summary>
/// Where packs and page maps lie: a directory here, an object store elsewhere. Objects are written once and never changed. Safe for use by several threads
/// and processes; that nothing is deleted while somebody counts on it is the business of the callers (docs/page-store.md).
/// </summary>
public interface IPackStorage
{
    /// <summary>null when there is no such object. An object that is open stays readable, or its reads fail as Truncated, when it is deleted.</summary>
    /// <exception cref="Images.ImageException">NotFound: it is there and cannot be opened.</exception>
    IPackObject? TryOpen(string name);

    bool Exists(string name);

    /// <summary>All objects whose name begins so.</summary>
    IReadOnlyList<StoredObject> List(string prefix);

    /// <summary>Stores a file, which is flushed already and goes away, under a name; durable when this returns. False, with nothing changed but the file gone, when the name is taken.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    bool PutIfAbsent(string name, string path);

    /// <summary>Nothing happens when there is none.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    void Delete(string name);
}
