using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Templates;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// The memory of a template that clones are forked from before it is there, and of those clones. What one of them needs is given to the template as
/// well, so that later ones are born with it; and it is noted in which order the first ones needed it.
/// </summary>
/// <remarks>Thread-safe. It has users, the template and each of its clones, and closes the image when the last is gone.</remarks>
internal sealed class LazyMemory
{
    /// <summary>A kernel entry costs more than the copy of a page, and a frame of the page store holds as many: neighbours come along.</summary>
    private const ulong NearWindowBytes = 8 * PageSize.Bytes;

    /// <summary>What a link carries while one request is on its way to an object store and back is more than this.</summary>
    private const ulong FarWindowBytes = 16 * PageSize.Bytes;

    private readonly ImageLease _image;
    private readonly MissingPages _pages;
    private readonly MissingPiece[] _byOffset;
    private readonly LazySpace _template;
    private readonly Lock _gate = new();
    private readonly List<LazySpace> _strays = [];
    private readonly HashSet<ulong> _served = [];
    private readonly List<AddressRange> _order = [];
    private LazyClone? _expected;
    private int _users = 1;
    private bool _learning = true;
    private long _begun;
    private long _ended;
    private int _births;

    /// <param name="image">A use of its own, which this ends.</param>
    /// <param name="door">Of the template, with its ranges registered; becomes this object's.</param>
    /// <param name="pages">What the template lacks.</param>
    public LazyMemory(PageServer server, ImageLease image, Userfaultfd door, MissingPages pages)
    {
        Server = server;
        _image = image;
        WindowBytes = image.Image.Pages.IsRemote ? FarWindowBytes : NearWindowBytes;
        _pages = pages;
        _byOffset = [.. pages.Pieces.OrderBy(piece => piece.Offset)];
        _template = new LazySpace(door, pages, this, owner: null);
        server.Watch(_template);
    }

    public PageServer Server { get; }

    /// <summary>Of the template.</summary>
    public Userfaultfd Door => _template.Door;

    /// <summary>What is fetched together, for a fault that does not go on where the last one ended; a power of two.</summary>
    public ulong WindowBytes { get; }

    /// <summary>Pages that were asked for so far.</summary>
    public long FaultsBegun => Interlocked.Read(ref _begun);

    /// <summary>Somebody waits for a page.</summary>
    public bool IsBusy => Interlocked.Read(ref _begun) != Interlocked.Read(ref _ended);

    /// <summary>A clone was forked.</summary>
    public bool HasClones => Volatile.Read(ref _births) > 0;

    /// <summary>Set when the first clone has answered.</summary>
    public ManualResetEventSlim Answered { get; } = new();

    /// <summary>Says whose the next fork of the template will be; null for a fork of nobody's.</summary>
    public void Expect(LazyClone? clone)
    {
        // The last fork has returned, but whoever heard of it may still be about to ask whose it was.
        _template.AwaitEvents();
        lock (_gate)
            _expected = clone;
    }

    /// <summary>An address space came out of another by fork(2); its process does not go on before this returns.</summary>
    public void Born(LazySpace parent, Userfaultfd door, MissingPages pages)
    {
        var owner = parent.Owner;
        lock (_gate)
        {
            if (parent == _template)
            {
                owner = _expected;
                _expected = null;
            }
        }
        Interlocked.Increment(ref _births);
        var space = new LazySpace(door, pages, this, owner);
        Server.Watch(space);
        if (owner is not null)
        {
            owner.Adopt(space);
            return;
        }
        lock (_gate)
            _strays.Add(space);
    }

    /// <summary>A fault is being served, until <see cref="EndFault"/>.</summary>
    public void BeginFault() => Interlocked.Increment(ref _begun);

    public void EndFault() => Interlocked.Increment(ref _ended);

    /// <summary>Reads from the image, each byte verified.</summary>
    /// <exception cref="Images.ImageException">Damaged, or not to be had.</exception>
    public void Read(ulong offset, Span<byte> pages) => _image.Image.Pages.Read(offset, pages);

    /// <summary>A clone got these pages: the template shall have them too.</summary>
    /// <param name="window">Within one piece of the clone's.</param>
    public void Served(MissingPiece window, ReadOnlySpan<byte> pages)
    {
        var address = AddressInTemplate(window.Offset);
        lock (_gate)
        {
            if (_learning)
                _order.Add(AddressRange.FromLength(address, window.Range.LengthBytes));
            if (_served.Contains(window.Offset))
                return;
        }
        // One that is just being forked gets them the next time.
        if (_template.Offer(address, pages))
        {
            lock (_gate)
                _served.Add(window.Offset);
        }
    }

    /// <summary>A clone got zeros.</summary>
    public void ServedZeros(AddressRange range)
    {
        lock (_gate)
        {
            if (_learning)
                _order.Add(range);
        }
    }

    /// <summary>A clone has answered: what was touched until the first did is what clones need on their way there.</summary>
    /// <returns>The ranges in the order of their first use, in the template's addresses, the first time; null later.</returns>
    public IReadOnlyList<AddressRange>? NoteAnswered()
    {
        lock (_gate)
        {
            Answered.Set();
            if (!_learning)
                return null;
            _learning = false;
            return [.. _order];
        }
    }

    /// <summary>The template has ended.</summary>
    public void CloseTemplate()
    {
        Server.Forget(_template);
        lock (_gate)
        {
            _strays.ForEach(Server.Forget);
            _strays.Clear();
        }
        RemoveUser();
    }

    public void AddUser()
    {
        lock (_gate)
            _users++;
    }

    public void RemoveUser()
    {
        lock (_gate)
        {
            if (--_users > 0)
                return;
        }
        _image.Dispose();
    }

    private VirtualAddress AddressInTemplate(ulong offset)
    {
        int low = 0, high = _byOffset.Length - 1;
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (_byOffset[middle].Offset <= offset)
                low = middle;
            else
                high = middle - 1;
        }
        return _byOffset[low].Range.Start + (offset - _byOffset[low].Offset);
    }
}
