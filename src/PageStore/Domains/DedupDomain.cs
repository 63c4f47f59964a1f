using System.Runtime.ExceptionServices;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore.Domains;

/// <summary>
/// The set of images whose equal pages are stored once; images of different domains share nothing.
/// <code>
///   STORE/domains/NAME/packs/HEX.GENERATION   pages in frames; docs/page-store.md
///   STORE/domains/NAME/maps/HEX               page maps, named by their SHA-256
///   STORE/domains/NAME/incoming/ID.pin        claims of writers that live (Pin)
///   STORE/domains/NAME/incoming/ID.N          files being written
/// </code>
/// With a remote storage packs and maps lie there under the same names; incoming/ is here all the same.
/// Thread-safe.
/// </summary>
internal sealed class DedupDomain
{
    private readonly StoreFiles _files;
    private readonly string _lockFile;

    /// <param name="remote">Where packs and maps lie when they do not lie here.</param>
    public DedupDomain(string storeRoot, string name, StoreFiles files, RemoteStorage? remote = null)
    {
        _files = files;
        _lockFile = Path.Combine(storeRoot, "lock");
        Name = name;
        Root = Path.Combine(storeRoot, "domains", name);
        Incoming = Path.Combine(Root, "incoming");
        Storage = remote?.StorageOf(name) ?? new DirectoryPackStorage(Root, files.SyncDirectory);
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
        Directory.CreateDirectory(Root);
        if (!Storage.IsRemote)
        {
            Directory.CreateDirectory(Path.Combine(Root, "packs"));
            Directory.CreateDirectory(Path.Combine(Root, "maps"));
        }
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

    /// <summary>Claims the packs that a reader of a remote storage is about to open, so that none is deleted while it reads.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public Pin ClaimForReader(IReadOnlyList<Sha256Value> packs)
    {
        using (Lock())
        {
            Make();
            var pin = Pin.Create(Incoming);
            try
            {
                foreach (var pack in packs)
                    pin.Add(pack);
                return pin;
            }
            catch (IOException)
            {
                // A full disk has no room for the list: claim all, without one.
                pin.Dispose();
                return Pin.Create(Incoming, everything: true);
            }
        }
    }

    /// <summary>Claims a pack that a writer has made itself and is about to store: from now on nobody deletes or replaces any writing of it.</summary>
    /// <returns>The newest writing that is there already; null when there is none.</returns>
    /// <exception cref="IOException">The disk refused.</exception>
    /// <exception cref="ImageException">NotFound: the storage cannot be asked.</exception>
    public PackName? ClaimOwn(Pin pin, Sha256Value pack)
    {
        using (Lock())
            pin.Add(pack);
        return FindNewest(Storage, pack);
    }

    /// <summary>Reads and checks the page map of an image.</summary>
    /// <exception cref="ImageException">NotFound, Truncated, DigestMismatch, Malformed, UnsupportedVersion, LimitExceeded.</exception>
    /// <param name="storage">null for the domain's own, with its cache.</param>
    public PageMap ReadMap(PageBlob pages, IPackStorage? storage = null)
    {
        storage ??= Storage;
        var digest = Sha256Value.Read(pages.Map.Sha256.Span);
        var name = MapNames.Of(digest);
        using var opened = storage.TryOpen(name, (int)Math.Min(pages.Map.LengthBytes, PageStoreLimits.MaxFirstBytes))
            ?? throw new ImageException(ImageFailure.NotFound, $"{Storage.LocationOf(name)}: the page map is missing; create the snapshot again");
        if ((ulong)opened.LengthBytes != pages.Map.LengthBytes)
            throw new ImageException(ImageFailure.Truncated, $"{opened.Location}: has {opened.LengthBytes} bytes instead of {pages.Map.LengthBytes}; remove the snapshot and create it again");
        var bytes = new byte[opened.LengthBytes];
        opened.Read(0, bytes);
        if (Sha256Value.Of(bytes) != digest && !(opened.ReadAnew(0, bytes) && Sha256Value.Of(bytes) == digest))
            throw new ImageException(ImageFailure.DigestMismatch, $"{opened.Location}: the page map is damaged (SHA-256 differs); remove the snapshot and create it again");
        return PageMap.Decode(bytes, pages.LengthBytes, opened.Location);
    }

    /// <summary>Opens a writing of each of these packs that has every frame which names or claims reach; those of a remote storage side by side.</summary>
    /// <exception cref="ImageException">NotFound: one is missing; Truncated, DigestMismatch, Malformed, UnsupportedVersion, LimitExceeded.</exception>
    public PackFile[] OpenPacks(IReadOnlyList<Sha256Value> ids)
    {
        var packs = new PackFile[ids.Count];
        try
        {
            OpenEach(ids.Count, i => packs[i] = OpenPack(ids[i]));
            return packs;
        }
        catch
        {
            Array.ForEach(packs, pack => pack?.Dispose());
            throw;
        }
    }

    /// <summary>Opens the newest writing of every pack; null for those that are gone by now or cannot be read.</summary>
    /// <exception cref="ImageException">NotFound: they cannot be listed.</exception>
    public IReadOnlyList<(PackName Name, PackFile? File)> OpenAll()
    {
        var newest = PackCatalogue.Read(Storage).Newest.Values.Select(pack => pack.Name).ToArray();
        var opened = new (PackName Name, PackFile? File)[newest.Length];
        OpenEach(newest.Length, i => opened[i] = (newest[i], TryOpenReadable(newest[i])));
        return opened;
    }

    /// <summary>null when it is gone or cannot be read; fsck tells why.</summary>
    public PackFile? TryOpenReadable(PackName name)
    {
        try
        {
            return TryOpen(Storage, name);
        }
        catch (ImageException)
        {
            return null;
        }
    }

    /// <exception cref="ImageException">It cannot be read.</exception>
    public static PackFile? TryOpen(IPackStorage storage, PackName name) =>
        storage.TryOpen(name.ObjectName, PackHeader.Bytes) is { } opened ? PackFile.Open(opened, name.Id) : null;

    private static PackName? FindNewest(IPackStorage storage, Sha256Value id) =>
        PackCatalogue.Read(storage, id).Newest.TryGetValue(id, out var found) ? found.Name : null;

    // The first writing is there in nearly all cases, and has all frames: newer ones have at most the same. So nothing is listed for it.
    private PackFile OpenPack(Sha256Value id)
    {
        if (TryOpen(Storage, new PackName(id, 0)) is { } first)
            return first;
        // A collection may replace one writing by the next between listing and opening.
        for (var tries = 0; tries < 2; tries++)
        {
            if (FindNewest(Storage, id) is { } newest && TryOpen(Storage, newest) is { } pack)
                return pack;
        }
        throw new ImageException(ImageFailure.NotFound, $"{Storage.LocationOf(PackName.Prefix + id.Hex)}: the pack is missing; `snapshots fsck` tells which snapshots need it");
    }

    /// <summary>One after the other here, side by side where each waits for an answer.</summary>
    internal void OpenEach(int count, Action<int> open)
    {
        if (!Storage.IsRemote || count == 1)
        {
            for (var i = 0; i < count; i++)
                open(i);
            return;
        }
        // Threads of its own: those of the pool are needed for the answers, and it is slow to add any.
        var next = -1;
        ExceptionDispatchInfo? failed = null;
        var threads = Enumerable.Range(0, Math.Min(count, PageStoreLimits.PacksOpenedAtOnce)).Select(_ => new Thread(() =>
        {
            try
            {
                for (int i; failed is null && (i = Interlocked.Increment(ref next)) < count;)
                    open(i);
            }
            catch (Exception problem)
            {
                Interlocked.CompareExchange(ref failed, ExceptionDispatchInfo.Capture(problem), null);
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        failed?.Throw();
    }
}
