using Snapshots.Images;
using Snapshots.PageStore.Domains;

namespace Snapshots.PageStore.Maintenance;

/// <param name="Subject">A snapshot's name, or a pack's path.</param>
/// <param name="Proven">The contents contradict their hashes or the format. Otherwise it only could not be read or understood here, and repair leaves it.</param>
/// <param name="Repaired">It is gone, or no longer used.</param>
public sealed record CheckProblem(string Subject, string What, bool Proven, bool Repaired);

/// <param name="Lost">Snapshots that were dropped because they cannot be restored any more.</param>
public sealed record CheckReport(int Snapshots, int Packs, long Pages, long Bytes, IReadOnlyList<CheckProblem> Problems, IReadOnlyList<string> Lost);

/// <summary>
/// Looks at every byte of a store.
/// <code>
/// 1. Pin every pack, so that none goes while it is looked at. Under the lock: list names.
/// 2. Packs, past the disk cache of a remote storage: headers, tables, every frame's checksum, every page's SHA-256.
/// 3. Snapshots: manifest and page map by their digests, every run against what was found in 2; page files by their digests.
/// 4. Repair: drop the names whose images are proven broken; then drop broken frames from their packs, so that no new image is built on them;
///    then packs that cannot be read at all, if nothing needs them.
/// </code>
/// Safe beside creates and collections. What is created meanwhile is not looked at.
/// </summary>
public static class StoreCheck
{
    /// <param name="repair">Drop what is proven broken.</param>
    /// <exception cref="ImageException">WriteFailed; also when what lies in the object store is not this store's, so that missing packs prove nothing. NotFound: packs cannot be listed.</exception>
    public static CheckReport Run(SnapshotStore store, bool repair)
    {
        store.Pages.Remote?.RequireOwnership();
        var pins = store.Pages.Domains.Select(domain => (Domain: domain, Pin: SnapshotStore.CreatePin(domain, everything: true))).ToList();
        try
        {
            var packs = new List<PackCheck>();
            var images = store.Images.Examine(images => images);
            foreach (var (domain, _) in pins)
                packs.AddRange(PackCatalogue.Read(domain.Storage).Newest.Values.Select(pack => PackCheck.Run(domain, pack.Name, pack.Bytes)));
            var byId = packs.ToDictionary(pack => (pack.Domain, pack.Name.Id));
            var broken = images.Select(image => (Image: image, Problem: image.Problem ?? ProblemOf(store, image, byId))).Where(found => found.Problem is not null).ToList();
            // Our own claims would keep what is to go.
            pins.ForEach(pin => pin.Pin.Dispose());
            pins.Clear();
            var repairs = repair ? new StoreRepair(store) : null;
            List<CheckProblem> problems =
            [
                .. broken.Select(found => new CheckProblem(found.Image.Name, found.Problem!.Message, IsProof(found.Problem), repairs?.TryDrop(found.Image, found.Problem) ?? false)),
                .. packs.Where(pack => !pack.IsGood).SelectMany(pack => Describe(pack, repairs?.TryRepair(pack) ?? false)),
            ];
            return new CheckReport(images.Count, packs.Count, packs.Sum(pack => (long)pack.Pages), packs.Sum(pack => pack.Bytes), problems, repairs?.Lost ?? []);
        }
        finally
        {
            pins.ForEach(pin => pin.Pin.Dispose());
        }
    }

    /// <summary>False for what may be whole on another day, under another user, or for a newer version of this program.</summary>
    internal static bool IsProof(ImageException problem) =>
        problem.Failure is ImageFailure.DigestMismatch or ImageFailure.Malformed or ImageFailure.Truncated or ImageFailure.NotFound
        && problem.InnerException is not (UnauthorizedAccessException or (IOException and not FileNotFoundException and not DirectoryNotFoundException));

    private static IEnumerable<CheckProblem> Describe(PackCheck pack, bool repaired) =>
        pack.Problem is { } problem
            ? [new CheckProblem(pack.Location, problem.Message, IsProof(problem), repaired)]
            : pack.BadFrames.Values.Select(bad => new CheckProblem(pack.Location, bad.Message, IsProof(bad), repaired));

    /// <summary>What stands against restoring an image whose manifest and maps are good.</summary>
    private static ImageException? ProblemOf(SnapshotStore store, ImageListing listing, Dictionary<(DedupDomain Domain, Sha256Value Id), PackCheck> packs)
    {
        try
        {
            var pages = listing.Manifest!.Pages;
            if (pages.Map is null)
            {
                using var image = store.Images.OpenImage(listing.Digest!.Value.ToString());
                image.VerifyPages();
                return null;
            }
            var domain = store.Pages.Domain(pages.Map.Domain);
            var map = domain.ReadMap(pages, domain.Storage.Uncached);
            return map.Runs.Select(run => packs.GetValueOrDefault((domain, map.Packs[run.Pack]))?.DamageOf(run)).FirstOrDefault(damage => damage is not null);
        }
        catch (ImageException problem) when (problem.Failure == ImageFailure.NotFound && store.Images.TryResolve(listing.Name) != listing.Digest)
        {
            return null; // Removed or replaced since it was listed.
        }
        catch (ImageException problem)
        {
            return problem;
        }
    }
}
