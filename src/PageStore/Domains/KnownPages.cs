using Snapshots.Images;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Domains;

/// <summary>Where a page is: its pack by the number it has in <see cref="KnownPages"/>, and its place there.</summary>
internal readonly record struct PageLocation(int Pack, int Page);

/// <summary>
/// Every page that a writer need not store again: those of the domain when it began, and those it has stored itself. Packs of the domain are claimed
/// when a page of theirs is first used; one that went meanwhile is forgotten. Not thread-safe.
/// </summary>
internal sealed class KnownPages
{
    private readonly Dictionary<Sha256Value, PageLocation> _pages = [];
    private readonly List<Pack> _packs = [];
    private readonly DedupDomain _domain;
    private readonly Pin _pin;

    private KnownPages(DedupDomain domain, Pin pin)
    {
        _domain = domain;
        _pin = pin;
    }

    /// <summary>Nothing is known.</summary>
    public static KnownPages None(DedupDomain domain, Pin pin) => new(domain, pin);

    /// <summary>Reads the page tables of the domain's packs, up to the limit. What cannot be read is not counted on: fsck is there to tell.</summary>
    /// <exception cref="ImageException">NotFound: a remote storage cannot be listed.</exception>
    public static KnownPages Load(DedupDomain domain, Pin pin)
    {
        var known = new KnownPages(domain, pin);
        foreach (var group in PackCatalogue.Read(domain.Storage).Newest.Values.Chunk(PageStoreLimits.PacksOpenedAtOnce))
        {
            var tables = new PageTable?[group.Length];
            domain.OpenEach(group.Length, i =>
            {
                // A page has at least its digest in its pack.
                if (known._pages.Count + (group[i].Bytes / Sha256Value.Bytes) <= PageStoreLimits.MaxKnownPages || known.HasRoomFor(group[i].Name))
                    tables[i] = known.TryRead(group[i].Name);
            });
            foreach (var table in tables.OfType<PageTable>())
                known.Add(table);
        }
        return known;
    }

    /// <summary>Numbers a pack that the writer makes itself.</summary>
    public int AddOwnPack()
    {
        _packs.Add(new Pack(null));
        return _packs.Count - 1;
    }

    /// <summary>Numbers a pack that the writer's pin has claimed already.</summary>
    public int AddClaimedPack(Sha256Value id)
    {
        _packs.Add(new Pack(null) { Id = id });
        return _packs.Count - 1;
    }

    public void SetId(int pack, Sha256Value id) => _packs[pack].Id = id;

    /// <summary>The identity of a pack by its number.</summary>
    public Sha256Value IdOf(int pack) => _packs[pack].Id;

    public void Add(Sha256Value page, PageLocation location) => _pages[page] = location;

    /// <summary>Finds a page that may be counted on: its pack is the writer's own, or claimed by this.</summary>
    /// <exception cref="IOException">The claim cannot be written.</exception>
    public bool TryUse(Sha256Value page, out PageLocation location)
    {
        if (!_pages.TryGetValue(page, out location))
            return false;
        var pack = _packs[location.Pack];
        if (pack.Usable is null)
            pack.Usable = _domain.TryPin(_pin, pack.Name!.Value);
        return pack.Usable.Value;
    }

    private bool HasRoomFor(PackName name)
    {
        using var pack = _domain.TryOpenReadable(name);
        return pack is not null && _pages.Count + pack.Header.PageCount <= PageStoreLimits.MaxKnownPages;
    }

    private PageTable? TryRead(PackName name)
    {
        try
        {
            using var pack = _domain.TryOpenReadable(name);
            return pack is null ? null : new PageTable(name, pack.Header, pack.Frames, pack.ReadPageTable());
        }
        catch (ImageException)
        {
            return null; // Damaged: its pages are stored again, elsewhere.
        }
    }

    private void Add(PageTable table)
    {
        if (_pages.Count + table.Header.PageCount > PageStoreLimits.MaxKnownPages)
            return;
        _pages.EnsureCapacity(_pages.Count + table.Header.PageCount);
        _packs.Add(new Pack(table.Name) { Id = table.Name.Id });
        for (var page = 0; page < table.Header.PageCount; page++)
        {
            if (!table.Frames[page / table.Header.PagesPerFrame].IsDropped)
                _pages.TryAdd(Sha256Value.Read(table.Digests.AsSpan(page * Sha256Value.Bytes)), new PageLocation(_packs.Count - 1, page));
        }
    }

    private sealed record PageTable(PackName Name, PackHeader Header, IReadOnlyList<FrameEntry> Frames, byte[] Digests);

    private sealed class Pack(PackName? name)
    {
        /// <summary>null for a pack of the writer's own.</summary>
        public PackName? Name { get; } = name;

        public Sha256Value Id { get; set; }

        /// <summary>null until it is asked for.</summary>
        public bool? Usable { get; set; } = name is null ? true : null;
    }
}
