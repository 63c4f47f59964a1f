using Snapshots.Images;
using Snapshots.PageStore.Domains;

namespace Snapshots.PageStore.Maintenance;

/// <param name="RemovedFiles">Files that nothing reached.</param>
/// <param name="RewrittenPacks">Packs that were written again without the frames that nothing reached.</param>
/// <param name="FreedBytes">By both.</param>
/// <param name="KeptBecause">Why garbage may be left: an image that cannot be read, or packs in use by a create or a reader.</param>
public sealed record CollectionReport(int RemovedFiles, int RewrittenPacks, long FreedBytes, string? KeptBecause);

/// <summary>
/// Gives back what no name reaches.
/// <code>
/// 1. Under the lock: remove manifests, page files, page maps and packs that no name reaches and no pin claims.
/// 2. Under the lock: find packs of which less than half is reached, and which frames of them are.
/// 3. Without it, a few at a time: write such packs again without the other frames, into incoming/.
/// 4. Under the lock: look again at names and pins; put in place what dropped nothing that is reached now, throw the rest away.
/// </code>
/// Safe beside creates, removals, readers and other collections, and to be killed at any point.
/// </summary>
public static class GarbageCollection
{
    private const int PacksAtOnce = 16;
    private const string InUse = "snapshots that are being made, or read from an object store, use some packs; collect again afterwards";

    /// <exception cref="ImageException">WriteFailed.</exception>
    public static CollectionReport Run(SnapshotStore store)
    {
        var removal = store.Images.CollectGarbage();
        var report = new CollectionReport(removal.RemovedFiles, 0, removal.FreedBytes, removal.KeptBecause);
        if (report.KeptBecause is not null)
            return report;
        try
        {
            foreach (var domain in store.Pages.Domains)
                report = Thin(store, domain, report);
            return report;
        }
        catch (ImageException problem) when (problem.Failure != ImageFailure.WriteFailed)
        {
            return report with { KeptBecause = problem.Message };
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{store.Images.Root}: {cause.Message}; removing a snapshot needs no space, writing packs again does", cause);
        }
    }

    private static CollectionReport Thin(SnapshotStore store, DedupDomain domain, CollectionReport report)
    {
        using var pin = SnapshotStore.CreatePin(domain);
        var (before, pinnedBefore) = store.Images.Examine(images => (Use(domain, images), Pin.ReadAll(domain.Incoming)));
        using var opened = before;
        var candidates = before.Packs.Where(IsWorthIt).ToLookup(pack => pinnedBefore.Contains(pack.Name.Id));
        if (candidates[true].Any())
            report = report with { KeptBecause = InUse };
        // To a remote storage they are sent under the lock, and each takes a second there.
        foreach (var group in candidates[false].Chunk(domain.Storage.IsRemote ? 1 : PacksAtOnce))
        {
            var thinnings = group.Select(pack => PackThinning.Write(domain, pack, pack.LiveFrames(), pin)).ToList();
            report = store.Images.Examine(images =>
            {
                using var now = Use(domain, images);
                var pinned = Pin.ReadAll(domain.Incoming);
                var freed = thinnings.Select(thinning => thinning.TryPublish(now, pinned)).ToList();
                return report with
                {
                    RewrittenPacks = report.RewrittenPacks + freed.Count(bytes => bytes is not null),
                    FreedBytes = report.FreedBytes + freed.Sum(bytes => bytes ?? 0),
                    KeptBecause = freed.Contains(null) ? InUse : report.KeptBecause,
                };
            });
        }
        return report;
    }

    private static bool IsWorthIt(PackUse pack) => pack.IsLive && pack.BytesOf(null) * 2 < pack.File.Header.DataBytes;

    /// <exception cref="ImageException">An image cannot be read, so nothing can be said.</exception>
    internal static DomainUse Use(DedupDomain domain, IReadOnlyList<ImageListing> images)
    {
        if (images.FirstOrDefault(image => image.Problem is not null) is { } damaged)
            throw new ImageException(damaged.Problem!.Failure, $"\"{damaged.Name}\" cannot be read and may need any pack; remove it, or run `snapshots fsck --repair` ({damaged.Problem.Message})", damaged.Problem);
        var use = DomainUse.Open(domain);
        try
        {
            for (var number = 0; number < images.Count; number++)
            {
                if (images[number].Manifest!.Pages is var pages && pages.Map?.Domain == domain.Name)
                    use.Mark(new ReachablePages(images[number].Name, pages), number);
            }
            return use;
        }
        catch
        {
            use.Dispose();
            throw;
        }
    }
}
