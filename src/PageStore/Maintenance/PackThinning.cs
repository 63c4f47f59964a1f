using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Maintenance;

/// <summary>Writes a pack again without some of its frames. Its identity stays, so page maps that use the other frames stay good.</summary>
internal sealed record PackThinning(DedupDomain Domain, PackName Old, bool[] Keep, string Path)
{
    /// <summary>Writes the new file into incoming/; the caller need not hold the lock. Frames go over as they are, each checked.</summary>
    /// <exception cref="ImageException">A frame that is to be kept is damaged, or the page table is.</exception>
    /// <exception cref="IOException">The disk refused.</exception>
    public static PackThinning Write(DedupDomain domain, PackUse pack, bool[] keep, Pin pin)
    {
        var path = pin.NewFilePath();
        try
        {
            using var builder = new PackBuilder(path, pack.File.Header.PagesPerFrame);
            builder.AddPages(pack.File.ReadPageTable());
            var stored = new byte[PageStoreLimits.MaxFrameBytes];
            for (var frame = 0; frame < keep.Length; frame++)
            {
                var entry = pack.File.Frames[frame];
                var bytes = stored.AsSpan(0, keep[frame] ? entry.StoredBytes : 0);
                if (!bytes.IsEmpty)
                    pack.File.ReadChecked(frame, bytes);
                builder.AddFrame(bytes, entry.Checksum);
            }
            builder.Complete();
            return new PackThinning(domain, pack.Name, keep, path);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    /// <summary>
    /// Puts the new writing in the place of the old, unless somebody may count on a dropped frame by now or the pack has changed.
    /// The caller holds the store's lock.
    /// </summary>
    /// <param name="now">What is reached at this moment.</param>
    /// <param name="pinned">Packs that writers have claimed at this moment.</param>
    /// <returns>Bytes that became free; null when the pack was left as it is.</returns>
    /// <exception cref="IOException">The disk refused.</exception>
    /// <exception cref="ImageException">WriteFailed: the remote storage refused.</exception>
    public long? TryPublish(DomainUse now, PinnedPacks pinned)
    {
        var pack = now.Packs.FirstOrDefault(pack => pack.Name == Old);
        if (pack is null || pinned.Contains(Old.Id) || pack.Owners.Zip(Keep).Any(frame => frame.First != DomainUse.Nobody && !frame.Second))
        {
            File.Delete(Path);
            return null;
        }
        var bytes = new FileInfo(Path).Length;
        var thinned = Old with { Generation = Old.Generation + 1 };
        if (!Domain.Storage.PutIfAbsent(thinned.ObjectName, Path))
            return null;
        Domain.Storage.Delete(Old.ObjectName);
        return pack.File.LengthBytes - bytes;
    }
}
