using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Maintenance;

/// <summary>Drops what a check has proven broken, and nothing else. Looks again under the lock before anything goes. Not thread-safe.</summary>
internal sealed class StoreRepair(SnapshotStore store)
{
    private readonly List<string> _lost = [];

    public IReadOnlyList<string> Lost => _lost;

    /// <summary>Drops a name whose image is broken.</summary>
    /// <returns>False when that is not proven, or the name leads elsewhere by now.</returns>
    public bool TryDrop(ImageListing image, ImageException problem)
    {
        if (!StoreCheck.IsProof(problem) || store.Images.RemoveBroken(image.Name, image.Digest) is null)
            return false;
        _lost.Add(image.Name);
        return true;
    }

    /// <summary>Drops the broken frames of a pack, or the pack when nothing of it can be read.</summary>
    /// <returns>False when damage is not proven, or somebody may count on it: an image, or a create that runs.</returns>
    /// <exception cref="ImageException">WriteFailed.</exception>
    public bool TryRepair(PackCheck pack)
    {
        var proven = pack.Problem is { } problem ? StoreCheck.IsProof(problem) : pack.BadFrames.Values.All(StoreCheck.IsProof);
        if (!proven)
            return false;
        try
        {
            return pack.Problem is not null ? TryRemove(pack) : TryDropFrames(pack);
        }
        catch (ImageException inUse) when (inUse.Failure != ImageFailure.WriteFailed)
        {
            return false; // An image cannot be read, for a reason that proves nothing: it may need the pack.
        }
    }

    private bool TryRemove(PackCheck pack) => store.Images.Examine(images =>
    {
        if (!pack.Domain.Storage.Exists(pack.Name.ObjectName))
            return true;
        using var use = GarbageCollection.Use(pack.Domain, images);
        if (Pin.ReadAll(pack.Domain.Incoming).Contains(pack.Name.Id))
            return false;
        // It cannot be opened, so that an image which needs it would have failed above.
        pack.Domain.Storage.Delete(pack.Name.ObjectName);
        return true;
    });

    private bool TryDropFrames(PackCheck pack)
    {
        using var pin = SnapshotStore.CreatePin(pack.Domain);
        if (pack.Domain.Storage.TryOpen(pack.Name.ObjectName) is not { } opened)
            return true; // Collected together with the images that needed it.
        using var file = PackFile.Open(opened, pack.Name.Id);
        var keep = new bool[file.Header.FrameCount];
        for (var frame = 0; frame < keep.Length; frame++)
            keep[frame] = !pack.BadFrames.ContainsKey(frame) && !file.Frames[frame].IsDropped;
        var thinning = PackThinning.Write(pack.Domain, new PackUse(pack.Name, file), keep, pin);
        return store.Images.Examine(images =>
        {
            using var now = GarbageCollection.Use(pack.Domain, images);
            return thinning.TryPublish(now, Pin.ReadAll(pack.Domain.Incoming)) is not null;
        });
    }
}
