using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore;

/// <summary>An image store together with its page store: what all but the images room should open. Thread-safe.</summary>
public sealed class SnapshotStore
{
    private SnapshotStore(ImageStore images, PackedPages pages)
    {
        Images = images;
        Pages = pages;
    }

    public ImageStore Images { get; }

    public PackedPages Pages { get; }

    /// <summary>Where the packs lie when they lie in an object store; null when they lie in the store's directory.</summary>
    public PackPlacement? Placement => Pages.Remote?.Placement;

    /// <summary>What reading and writing packs has cost so far, for all who use this object; null when they lie in the store's directory.</summary>
    public RemoteStatistics? RemoteStatistics => Pages.Remote?.Statistics;

    /// <summary>Opens the store in <paramref name="directory"/>, making it when it is missing, and removes what crashed writers left.</summary>
    /// <exception cref="ImageException">WriteFailed: the directory cannot be made; InvalidName: the domain; Malformed, LimitExceeded, UnsupportedVersion, NotFound: packs.json cannot be read.</exception>
    public static SnapshotStore Open(string directory, StoreFiles files, string domain = PackedPages.DefaultDomain) => Open(directory, files, domain, S3Times.Default);

    /// <param name="times">For tests that do not want to wait.</param>
    internal static SnapshotStore Open(string directory, StoreFiles files, string domain, S3Times times)
    {
        var pages = new PackedPages(directory, files, domain, times);
        return new SnapshotStore(ImageStore.Open(directory, files, pages), pages);
    }

    /// <summary>A claim on nothing yet, for files of ours in incoming/; or on everything.</summary>
    /// <exception cref="IOException">The file cannot be made.</exception>
    internal static Pin CreatePin(DedupDomain domain, bool everything = false)
    {
        using (domain.Lock())
        {
            domain.Make();
            return Pin.Create(domain.Incoming, everything);
        }
    }
}
