using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.PageStore.Domains;

namespace Snapshots.PageStore.Maintenance;

/// <summary>What one snapshot takes.</summary>
/// <param name="LogicalBytes">Its pages, as a template holds them.</param>
/// <param name="StoredBytes">Compressed frames that it reaches, shared or not, with its manifest and page map; or its page file.</param>
/// <param name="ExclusiveBytes">The part of these that nothing else reaches.</param>
/// <param name="FreesBytes">What removing it alone would free at once: files that nothing else reaches.</param>
public sealed record SnapshotUsage(string Name, ulong LogicalBytes, long StoredBytes, long ExclusiveBytes, long FreesBytes);

/// <summary>Packs in an object store, and what of them is here too.</summary>
/// <param name="Address">Of the bucket and prefix.</param>
public sealed record RemoteUsage(string Address, long CacheBytes, long CacheLimitBytes);

/// <summary>What a store takes.</summary>
/// <param name="LogicalBytes">Sum over the snapshots.</param>
/// <param name="UniqueBytes">Distinct pages that they reach, uncompressed; page files count whole.</param>
/// <param name="StoredBytes">Files that names reach, or packs that are reached in part.</param>
/// <param name="GarbageBytes">In packs: frames that no name reaches; collections give them back when they are most of a pack.</param>
/// <param name="Damaged">Snapshots that could not be measured, with the reason.</param>
public sealed record StoreUsage(
    IReadOnlyList<SnapshotUsage> Snapshots, ulong LogicalBytes, ulong UniqueBytes, long StoredBytes, long GarbageBytes, IReadOnlyList<string> Damaged)
{
    /// <summary>null when packs lie in the store's directory.</summary>
    public RemoteUsage? Remote { get; init; }

    /// <summary>Looks at manifests, page maps and frame tables, not at pages. Names cannot change meanwhile.</summary>
    /// <exception cref="ImageException">WriteFailed: the lock cannot be had. NotFound: packs in an object store cannot be listed.</exception>
    public static StoreUsage Measure(SnapshotStore store)
    {
        var usage = store.Images.Examine(images => new Measurement(store, images).Run());
        return store.Pages.Remote is { } remote ? usage with { Remote = new RemoteUsage(remote.Placement.Address, remote.Cache.Measure(), remote.Cache.LimitBytes) } : usage;
    }

    private sealed class Measurement(SnapshotStore store, IReadOnlyList<ImageListing> images)
    {
        private readonly List<string> _damaged = [.. images.Where(image => image.Problem is not null).Select(image => $"{image.Name}: {image.Problem!.Message}")];
        private readonly ImageListing[] _good = [.. images.Where(image => image.Problem is null)];
        private readonly Dictionary<string, int> _fileUsers = new(StringComparer.Ordinal);

        public StoreUsage Run()
        {
            foreach (var file in _good.SelectMany(FilesOf))
                _fileUsers[file.Name] = _fileUsers.GetValueOrDefault(file.Name) + 1;
            var uses = store.Pages.Domains.Select(MarkAll).ToList();
            try
            {
                var snapshots = _good.Select((image, number) => Describe(image, number, uses.FirstOrDefault(use => use.Domain.Name == image.Manifest!.Pages.Map?.Domain))).ToList();
                var packs = uses.SelectMany(use => use.Packs).ToList();
                var files = _good.SelectMany(FilesOf).DistinctBy(file => file.Name).ToList();
                var pageFiles = _good.Select(image => image.Manifest!.Pages).Where(pages => pages.Map is null).DistinctBy(pages => pages.Sha256);
                return new StoreUsage(
                    snapshots,
                    _good.Aggregate(0UL, (sum, image) => sum + image.Manifest!.Pages.LengthBytes),
                    packs.Aggregate(0UL, (sum, pack) => sum + ((ulong)pack.LivePages * PageSize.Bytes)) + pageFiles.Aggregate(0UL, (sum, pages) => sum + pages.LengthBytes),
                    files.Sum(file => file.Bytes) + packs.Where(pack => pack.IsLive).Sum(pack => pack.File.LengthBytes),
                    packs.Sum(pack => pack.IsLive ? pack.File.Header.DataBytes - pack.BytesOf(null) : pack.File.LengthBytes),
                    _damaged);
            }
            finally
            {
                uses.ForEach(use => use.Dispose());
            }
        }

        private DomainUse MarkAll(DedupDomain domain)
        {
            var use = DomainUse.Open(domain);
            for (var number = 0; number < _good.Length; number++)
            {
                if (_good[number].Manifest!.Pages.Map?.Domain == domain.Name)
                    use.Mark(new ReachablePages(_good[number].Name, _good[number].Manifest!.Pages), number);
            }
            return use;
        }

        private SnapshotUsage Describe(ImageListing image, int number, DomainUse? use)
        {
            var files = FilesOf(image).ToList();
            var own = files.Where(file => _fileUsers[file.Name] == 1).Sum(file => file.Bytes);
            IReadOnlyList<PackUse> reached = use is null ? [] : [.. use.Packs.Where(pack => pack.Reaches(number))];
            return new SnapshotUsage(
                image.Name,
                image.Manifest!.Pages.LengthBytes,
                files.Sum(file => file.Bytes) + reached.Sum(pack => pack.BytesReachedBy(number)),
                own + reached.Sum(pack => pack.BytesOf(number)),
                own + reached.Where(pack => pack.Owners.All(owner => owner == number || owner == DomainUse.Nobody)).Sum(pack => pack.File.LengthBytes));
        }

        /// <summary>Manifest, and page map or page file.</summary>
        private static IEnumerable<(string Name, long Bytes)> FilesOf(ImageListing image)
        {
            yield return (image.Digest!.Value.Hex, image.ManifestBytes);
            var pages = image.Manifest!.Pages;
            if (pages.Map is { } map)
                yield return (MapNames.Of(Sha256Value.Read(map.Sha256.Span)), (long)map.LengthBytes);
            else
                yield return (Convert.ToHexStringLower(pages.Sha256.Span), (long)pages.LengthBytes);
        }
    }
}
