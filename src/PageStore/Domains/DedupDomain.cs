using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Domains;

/// <summary>
/// The set of images whose equal pages are stored once; images of different domains share nothing.
/// <code>
///   STORE/domains/NAME/packs/HEX.GENERATION   pages in frames; docs/page-store.md
///   STORE/domains/NAME/maps/HEX               page maps, named by their SHA-256
///   STORE/domains/NAME/incoming/ID.pin        claims of writers that live (Pin)
///   STORE/domains/NAME/incoming/ID.N          files being written
/// </code>
/// Thread-safe.
/// </summary>
internal sealed class DedupDomain
{
    private readonly StoreFiles _files;
    private readonly string _lockFile;

    public DedupDomain(string storeRoot, string name, StoreFiles files)
    {
        _files = files;
        _lockFile = Path.Combine(storeRoot, "lock");
        Name = name;
        Root = Path.Combine(storeRoot, "domains", name);
        Incoming = Path.Combine(Root, "incoming");
        Storage = new DirectoryPackStorage(Root, files.SyncDirectory);
    }

    public string Name { get; }

    public string Root { get; }

    public string Incoming { get; }

    public IPackStorage Storage { get; }

    /// <summary>Makes the directories, durably.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public void Make()
    {
        if (Directory.Exists(Incoming))
            return;
        Directory.CreateDirectory(Path.Combine(Root, "packs"));
        Directory.CreateDirectory(Path.Combine(Root, "maps"));
        foreach (var directory in new[] { Root, Path.GetDirectoryName(Root)!, Path.GetDirectoryName(_lockFile)! })
            _files.SyncDirectory(directory);
        // Last: where it is, all is.
        Directory.CreateDirectory(Incoming);
    }

    /// <summary>The store's lock; not to be asked for by who holds it.</summary>
    public IDisposable Lock() => _files.Lock(_lockFile);

    /// <summary>Claims a pack for a writer, if that writing of it is still there.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public bool TryPin(Pin pin, PackName pack)
    {
        if (pin.Holds(pack.Id))
            return true;
        using (Lock())
        {
            if (!Storage.Exists(pack.ObjectName))
                return false;
            pin.Add(pack.Id);
            return true;
        }
    }

    /// <summary>Reads and checks the page map of an image.</summary>
    /// <exception cref="ImageException">NotFound, Truncated, DigestMismatch, Malformed, UnsupportedVersion, LimitExceeded.</exception>
    public PageMap ReadMap(PageBlob pages)
    {
        var digest = Sha256Value.Read(pages.Map.Sha256.Span);
        using var opened = Storage.TryOpen(MapNames.Of(digest))
            ?? throw new ImageException(ImageFailure.NotFound, $"{Root}/{MapNames.Of(digest)}: the page map is missing; create the snapshot again");
        if ((ulong)opened.LengthBytes != pages.Map.LengthBytes)
            throw new ImageException(ImageFailure.Truncated, $"{opened.Location}: has {opened.LengthBytes} bytes instead of {pages.Map.LengthBytes}; remove the snapshot and create it again");
        var bytes = new byte[opened.LengthBytes];
        opened.Read(0, bytes);
        if (Sha256Value.Of(bytes) != digest)
            throw new ImageException(ImageFailure.DigestMismatch, $"{opened.Location}: the page map is damaged (SHA-256 differs); remove the snapshot and create it again");
        return PageMap.Decode(bytes, pages.LengthBytes, opened.Location);
    }

    /// <summary>Opens the newest writing of each of these packs.</summary>
    /// <exception cref="ImageException">NotFound: one is missing; Truncated, DigestMismatch, Malformed, UnsupportedVersion, LimitExceeded.</exception>
    public PackFile[] OpenPacks(IReadOnlyList<Sha256Value> ids)
    {
        var packs = new List<PackFile>(ids.Count);
        try
        {
            var catalogue = PackCatalogue.Read(Storage);
            foreach (var id in ids)
            {
                if (TryOpen(catalogue, id) is { } pack)
                {
                    packs.Add(pack);
                    continue;
                }
                // A collection may have replaced it by a newer writing since it was listed.
                catalogue = PackCatalogue.Read(Storage);
                packs.Add(TryOpen(catalogue, id) ?? throw new ImageException(ImageFailure.NotFound, $"{Root}/packs/{id.Hex}: the pack is missing; `snapshots fsck` tells which snapshots need it"));
            }
            return [.. packs];
        }
        catch
        {
            packs.ForEach(pack => pack.Dispose());
            throw;
        }
    }

    private PackFile? TryOpen(PackCatalogue catalogue, Sha256Value id) =>
        catalogue.Newest.TryGetValue(id, out var found) && Storage.TryOpen(found.Name.ObjectName) is { } opened ? PackFile.Open(opened, id) : null;
}
