using System.Collections.Concurrent;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore;

/// <summary>
/// The page store of an image store: pages of images in packs, each page of a domain once. docs/page-store.md tells how writers and collections of several
/// processes keep out of one another's way. Thread-safe.
/// </summary>
public sealed class PackedPages : IPageStorage
{
    public const string DefaultDomain = "default";

    private readonly string _root;
    private readonly StoreFiles _files;
    private readonly DedupDomain _written;
    private readonly ConcurrentDictionary<string, DedupDomain> _domains = new(StringComparer.Ordinal);

    /// <param name="storeRoot">Directory of the image store.</param>
    /// <param name="domain">Where new images go; those of other domains are read all the same.</param>
    /// <exception cref="ImageException">InvalidName; Malformed, LimitExceeded, UnsupportedVersion, NotFound: packs.json cannot be read.</exception>
    public PackedPages(string storeRoot, StoreFiles files, string domain = DefaultDomain)
        : this(storeRoot, files, domain, S3Times.Default)
    {
    }

    /// <param name="times">For tests that do not want to wait.</param>
    internal PackedPages(string storeRoot, StoreFiles files, string domain, S3Times times)
    {
        if (!ImageStore.IsValidName(domain))
            throw new ImageException(ImageFailure.InvalidName, $"\"{domain}\" cannot name a dedup domain: use letters, digits, dots, underscores and hyphens, beginning with a letter or digit");
        _root = Path.GetFullPath(storeRoot);
        _files = files;
        if (PackPlacement.TryRead(Path.Combine(_root, PackPlacement.FileName)) is { } placement)
            Remote = new RemoteStorage(placement, StoreSetup.CacheOf(_root), times);
        _written = Domain(domain);
    }

    /// <summary>null when packs lie in the store's own directory.</summary>
    internal RemoteStorage? Remote { get; }

    /// <summary>All domains that the store has.</summary>
    internal IReadOnlyList<DedupDomain> Domains
    {
        get
        {
            var directory = Path.Combine(_root, "domains");
            return Directory.Exists(directory)
                ? [.. Directory.EnumerateDirectories(directory).Select(Path.GetFileName).Where(name => ImageStore.IsValidName(name!)).Order(StringComparer.Ordinal).Select(name => Domain(name!))]
                : [];
        }
    }

    public bool RemoveLeftovers()
    {
        var crashed = false;
        foreach (var domain in Domains)
            crashed |= Pin.RemoveFilesOfDead(domain.Incoming);
        return crashed;
    }

    public IPageWriter CreateWriter(PageBlob? parent)
    {
        // Pages that are in a page file are nobody else's to point at: such a layer stores all of its own.
        if (parent?.Map is not null)
            return CreateLayerWriter(parent);
        _written.Make();
        return new PackedPageWriter(_written, Pin.Create(_written.Incoming));
    }

    /// <summary>For an image that leaves the store: its packs hold all its pages and no others. Not to be published.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    internal PackedPageWriter CreateLoneWriter() => new(_written, SnapshotStore.CreatePin(_written), alone: true);

    public IPageReader Open(PageBlob pages)
    {
        var domain = Domain(pages.Map.Domain);
        var map = domain.ReadMap(pages);
        // What is open here outlives its removal; elsewhere it has to be claimed.
        var claim = domain.Storage.IsRemote ? Claim(domain, map) : null;
        try
        {
            return Open(domain, map, pages, claim);
        }
        catch
        {
            claim?.Dispose();
            throw;
        }
    }

    public void Check(PageBlob pages)
    {
        var domain = Domain(pages.Map.Domain);
        // No claim: the caller may hold the lock, and keeps nothing open.
        Open(domain, domain.ReadMap(pages), pages, claim: null).Dispose();
    }

    public (int Files, long Bytes) CollectGarbage(IReadOnlyList<ReachablePages> reachable)
    {
        // All domains are marked before anything goes: what cannot be read stops the collection as a whole.
        var plans = Domains.Select(domain => (Domain: domain, Garbage: FindGarbage(domain, reachable))).ToList();
        var files = 0;
        long bytes = 0;
        if (plans.Exists(plan => plan.Garbage.Count > 0))
            Remote?.RequireOwnership();
        foreach (var (domain, garbage) in plans)
        {
            foreach (var stored in garbage)
            {
                domain.Storage.Delete(stored.Name);
                files++;
                bytes += stored.LengthBytes;
            }
            Pin.RemoveDead(domain.Incoming);
        }
        return (files, bytes);
    }

    internal DedupDomain Domain(string name) => _domains.GetOrAdd(name, added => new DedupDomain(_root, added, _files, Remote));

    private static Pin Claim(DedupDomain domain, PageMap map)
    {
        try
        {
            return domain.ClaimForReader(map.Packs);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.NotFound, $"{domain.Incoming}: cannot note what is read: {cause.Message}; run as the store's owner, and free space on that file system", cause);
        }
    }

    private static PackedPageReader Open(DedupDomain domain, PageMap map, PageBlob pages, Pin? claim) =>
        new(map, domain.OpenPacks(map.Packs), pages.LengthBytes, $"the page map {Convert.ToHexStringLower(pages.Map.Sha256.Span)[..12]}", claim);
    // Called with the lock held: nothing is collected between the look at the parent's packs and their claim.
    private PackedPageWriter CreateLayerWriter(PageBlob parent)
    {
        var domain = Domain(parent.Map.Domain);
        Check(parent);
        domain.Make();
        var pin = Pin.Create(domain.Incoming);
        try
        {
            var map = domain.ReadMap(parent);
            foreach (var pack in map.Packs)
                pin.Add(pack);
            return new PackedPageWriter(domain, pin, parent: new ParentPages(map));
        }
        catch
        {
            pin.Dispose();
            throw;
        }
    }


    private static List<StoredObject> FindGarbage(DedupDomain domain, IReadOnlyList<ReachablePages> reachable)
    {
        var pinned = Pin.ReadAll(domain.Incoming);
        var packs = new HashSet<Sha256Value>();
        var maps = new HashSet<string>(StringComparer.Ordinal);
        foreach (var image in reachable.Where(image => image.Pages.Map.Domain == domain.Name))
        {
            try
            {
                packs.UnionWith(domain.ReadMap(image.Pages).Packs);
                maps.Add(MapNames.Of(Sha256Value.Read(image.Pages.Map.Sha256.Span)));
            }
            catch (ImageException problem)
            {
                throw new ImageException(problem.Failure, $"\"{image.Name}\" cannot be read and may share pages with what was removed; remove it too ({problem.Message})", problem);
            }
        }
        var catalogue = PackCatalogue.Read(domain.Storage);
        return
        [
            .. domain.Storage.List(MapNames.Prefix).Where(stored => !maps.Contains(stored.Name)),
            .. catalogue.Newest.Values.Where(pack => !packs.Contains(pack.Name.Id) && !pinned.Contains(pack.Name.Id)).Select(pack => new StoredObject(pack.Name.ObjectName, pack.Bytes)),
            .. catalogue.Superseded.Where(stored => !(PackName.TryParse(stored.Name, out var name) && domain.Storage.IsRemote && pinned.Contains(name.Id))),
        ];
    }
}
