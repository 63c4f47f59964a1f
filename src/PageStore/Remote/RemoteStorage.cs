using System.Text;
using Snapshots.Images;
using Snapshots.PageStore.Cache;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Remote;

/// <summary>The part of a store that lies in an object store: one bucket prefix, with the disk cache before it. Thread-safe.</summary>
internal sealed class RemoteStorage
{
    private const int MaxOwnerBytes = 1024;

    private readonly S3Bucket _bucket;

    public RemoteStorage(PackPlacement placement, string cacheDirectory, S3Times times)
    {
        Placement = placement;
        Statistics = new RemoteStatistics();
        _bucket = new S3Bucket(placement, Statistics, times);
        Cache = new BlockCache(cacheDirectory, placement.CacheBytes, Statistics);
        Fetches = new BlockFetches(Cache);
    }

    public PackPlacement Placement { get; }

    public RemoteStatistics Statistics { get; }

    public BlockCache Cache { get; }

    /// <summary>Blocks that are on their way, for all objects of the store.</summary>
    public BlockFetches Fetches { get; }

    private string OwnerKey => $"{Placement.Prefix}/owner";

    public IPackStorage StorageOf(string domain) => new CachedPackStorage(new S3PackStorage(_bucket, $"{Placement.Prefix}/domains/{domain}/"), this);

    /// <summary>Claims the prefix for this store.</summary>
    /// <exception cref="ImageException">WriteFailed: it is another store's, or the object store refuses; nothing was changed.</exception>
    public void TakeOwnership()
    {
        if (ReadOwner() is null)
        {
            if (_bucket.List($"{Placement.Prefix}/", atMost: 1) is [var other, ..])
                throw new ImageException(ImageFailure.WriteFailed, $"{_bucket.AddressOf(other.Name)}: is there already, and belongs to no store; name an empty prefix");
            _bucket.PutBytes(OwnerKey, Encoding.ASCII.GetBytes(Placement.StoreId + "\n"));
        }
        // Read back, also what was just put: not every server knows conditional puts, and two may have come at the same time.
        RequireOwnership("name another prefix; one whose store is gone for good may be emptied with the object store's own tools");
    }

    /// <summary>To be asked before anything is deleted: where this is not ours, nothing that is missing or superfluous is ours to judge.</summary>
    /// <exception cref="ImageException">WriteFailed: the prefix is not this store's. NotFound: nobody can tell.</exception>
    public void RequireOwnership(string cure = "correct endpoint or prefix with `snapshots init`")
    {
        var owner = ReadOwner();
        if (owner != Placement.StoreId)
            throw new ImageException(ImageFailure.WriteFailed, $"{_bucket.AddressOf(OwnerKey)}: {(owner is null ? "is missing" : "names another store")}, so that what lies there is not this store's; {cure}");
    }

    private string? ReadOwner()
    {
        var bytes = new byte[MaxOwnerBytes];
        return _bucket.TryReadAsync(OwnerKey, null, 0, bytes, ImageFailure.NotFound).GetAwaiter().GetResult() is { } answer
            ? Encoding.ASCII.GetString(bytes, 0, answer.Bytes).TrimEnd('\n')
            : null;
    }
}
