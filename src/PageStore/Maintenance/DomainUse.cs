using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Maintenance;

/// <summary>
/// Which frames of a domain's packs which images reach. Made with the store's lock held, or with all packs pinned. Not thread-safe.
/// </summary>
internal sealed class DomainUse : IDisposable
{
    /// <summary>Reached by no image.</summary>
    public const int Nobody = -1;

    /// <summary>Reached by several.</summary>
    public const int Several = -2;

    private readonly Dictionary<Sha256Value, PackUse> _packs = [];

    private DomainUse(DedupDomain domain) => Domain = domain;

    public DedupDomain Domain { get; }

    public IReadOnlyCollection<PackUse> Packs => _packs.Values;

    /// <summary>Opens every pack of the domain; those that cannot be read are left out.</summary>
    public static DomainUse Open(DedupDomain domain)
    {
        var use = new DomainUse(domain);
        foreach (var (name, file) in domain.OpenAll())
        {
            if (file is not null)
                use._packs.Add(name.Id, new PackUse(name, file));
        }
        return use;
    }

    /// <summary>Notes what an image reaches.</summary>
    /// <param name="image">A number of the caller's, not negative; images are marked one after the other.</param>
    /// <exception cref="ImageException">The map cannot be read, or needs a pack that is not there.</exception>
    public void Mark(ReachablePages reachable, int image)
    {
        var map = Domain.ReadMap(reachable.Pages);
        foreach (var run in map.Runs)
        {
            if (!_packs.TryGetValue(map.Packs[run.Pack], out var pack) || run.FirstPage + run.PageCount > pack.File.Header.PageCount)
                throw new ImageException(ImageFailure.NotFound, $"\"{reachable.Name}\": needs the pack {map.Packs[run.Pack]}, which is missing or damaged; `snapshots fsck` tells more");
            pack.Mark(run, image);
        }
    }

    public void Dispose()
    {
        foreach (var pack in _packs.Values)
            pack.File.Dispose();
    }
}

/// <summary>Which frames of one pack are reached, and by whom.</summary>
internal sealed class PackUse
{
    private readonly int[] _owners;
    private readonly System.Collections.BitArray _livePages;
    private readonly Dictionary<int, long> _bytesReached = [];
    // The image that marked a frame last: one image is marked after the other.
    private readonly int[] _lastMark;

    public PackUse(PackName name, PackFile file)
    {
        Name = name;
        File = file;
        _owners = new int[file.Header.FrameCount];
        _livePages = new System.Collections.BitArray(file.Header.PageCount);
        _lastMark = new int[_owners.Length];
        Array.Fill(_owners, DomainUse.Nobody);
        Array.Fill(_lastMark, DomainUse.Nobody);
    }

    public PackName Name { get; }

    public PackFile File { get; }

    /// <summary>For each frame the image that reaches it, <see cref="DomainUse.Nobody"/> or <see cref="DomainUse.Several"/>.</summary>
    public IReadOnlyList<int> Owners => _owners;

    public bool IsLive => _owners.AsSpan().ContainsAnyExcept(DomainUse.Nobody);

    /// <summary>Distinct pages that images reach.</summary>
    public int LivePages { get; private set; }

    public bool[] LiveFrames() => [.. _owners.Select(owner => owner != DomainUse.Nobody)];

    /// <summary>Stored bytes of the frames that any image reaches, or that only this one does.</summary>
    public long BytesOf(int? image) =>
        File.Frames.Zip(_owners).Where(frame => image is { } only ? frame.Second == only : frame.Second != DomainUse.Nobody).Sum(frame => (long)frame.First.StoredBytes);

    public bool Reaches(int image) => _bytesReached.ContainsKey(image);

    /// <summary>Stored bytes of the frames that this image reaches, shared or not.</summary>
    public long BytesReachedBy(int image) => _bytesReached.GetValueOrDefault(image);

    public void Mark(PageRun run, int image)
    {
        var perFrame = File.Header.PagesPerFrame;
        for (var frame = run.FirstPage / perFrame; frame <= (run.FirstPage + run.PageCount - 1) / perFrame; frame++)
        {
            if (_lastMark[frame] == image)
                continue;
            _lastMark[frame] = image;
            _owners[frame] = _owners[frame] == DomainUse.Nobody ? image : DomainUse.Several;
            _bytesReached[image] = _bytesReached.GetValueOrDefault(image) + File.Frames[frame].StoredBytes;
        }
        for (var page = run.FirstPage; page < run.FirstPage + run.PageCount; page++)
        {
            LivePages += _livePages[page] ? 0 : 1;
            _livePages[page] = true;
        }
    }
}
