using Snapshots.Images.V1;

namespace Snapshots.Snapshotter.Capture;

/// <summary>
/// The memory objects (memfds, shared anonymous memory, unlinked shared files) that mappings and descriptors of the image view, each once.
/// Whoever meets an object first registers it; contents are captured once at the end. Not thread-safe.
/// </summary>
public sealed class SharedMemoryTable(Manifest manifest)
{
    private readonly Dictionary<ObjectIdentity, SharedMemory> _objects = [];

    /// <summary>The objects with the path under which their contents can be opened for reading while the target is stopped.</summary>
    public List<(SharedMemory Object, string ReadablePath)> Sources { get; } = [];

    /// <param name="identity">Device and inode of the object.</param>
    /// <param name="readablePath"><c>/proc/PID/map_files/START-END</c> or <c>/proc/PID/fd/N</c>: opens the whole object.</param>
    /// <param name="create">Describes it (name, size, seals) when it is new; the id is set here.</param>
    public SharedMemory GetOrAdd(ObjectIdentity identity, string readablePath, Func<SharedMemory> create)
    {
        if (_objects.TryGetValue(identity, out var known))
            return known;
        var added = create();
        added.Id = (uint)_objects.Count + 1;
        _objects.Add(identity, added);
        manifest.SharedMemory.Add(added);
        Sources.Add((added, readablePath));
        return added;
    }
}
