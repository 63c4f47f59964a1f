using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// One address space whose missing pages are filled on demand: a template's, a clone's, or that of a process which a clone has forked.
/// </summary>
/// <remarks>
/// <code>
/// an event (fork, mremap, MADV_DONTNEED, munmap)   changes Pages, under the gate, before its cause goes on
/// a fault   1. look up where the page comes from; take some neighbours of the same piece along
///           2. read them from the image, without the gate: that may take long
///           3. under the gate: if Pages is still the one of step 1, copy; else from 1
/// </code>
/// The kernel refuses a copy with EAGAIN from the moment a change begins until its event was read. So a copy that succeeds comes before the
/// change, which then drops or moves the page like any other, or after its event, when step 3 sees it: pages never appear where they no longer belong.
///
/// An mremap that moves tells of the move and, when that was heard, of the munmap of where it came from. Both were done before the first was told: in
/// between, another thread's memory may already have been moved to where this one's was, and must not be taken for what was unmapped.
/// Thread-safe.
/// </remarks>
internal sealed class LazySpace : IDisposable
{
    /// <summary>Whoever reads on gets twice as much with each further window, up to this.</summary>
    public const ulong LargestWindowBytes = 64 * PageSize.Bytes;

    private const ulong MostZeroBytes = 8 * PageSize.Bytes;

    private readonly Lock _gate = new();
    private readonly Userfaultfd _door;
    private readonly LazyMemory _memory;

    /// <summary>Where mremap(2) has moved memory away from, and its munmap may still have to be told of.</summary>
    private readonly List<AddressRange> _left = [];

    private MissingPages _pages;
    private VirtualAddress _lastEnd;
    private ulong _windowBytes;
    private volatile bool _closed;

    /// <param name="door">Becomes the space's own.</param>
    /// <param name="owner">Who dies when a page cannot be had; null for the template, which never touches its pages.</param>
    public LazySpace(Userfaultfd door, MissingPages pages, LazyMemory memory, LazyClone? owner)
    {
        _door = door;
        _pages = pages;
        _memory = memory;
        Owner = owner;
    }

    public LazyClone? Owner { get; }

    public Userfaultfd Door => _door;

    /// <summary>Its number with the page server; 0 before.</summary>
    public ulong Key { get; set; }

    /// <summary>The number by which the sandbox's init keeps the door open; 0 when it does not.</summary>
    public int Kept { get; set; }

    /// <summary>Reads one message. An event is dealt with when this returns; a fault is the caller's to <see cref="Serve"/>.</summary>
    /// <returns>False when there was none.</returns>
    public bool TryRead(out VirtualAddress? fault)
    {
        fault = null;
        lock (_gate)
        {
            if (_closed || !_door.TryRead(out var message))
                return false;
            if (message.Event == UserfaultEvent.PageFault)
                fault = message.Range.Start.AlignDown(PageSize.Bytes);
            else
                Apply(message);
            return true;
        }
    }

    /// <summary>Fills the page at <paramref name="fault"/>, and those that arrive meanwhile.</summary>
    /// <param name="buffer">Room for <see cref="LargestWindowBytes"/>.</param>
    /// <exception cref="Images.ImageException">The page cannot be read.</exception>
    /// <exception cref="LinuxException">The kernel refused the copy: ENOMEM.</exception>
    public void Serve(VirtualAddress fault, byte[] buffer)
    {
        _memory.BeginFault();
        try
        {
            var waiting = new Queue<VirtualAddress>([fault]);
            while (waiting.TryPeek(out var page))
            {
                if (TryServe(page, buffer))
                    _ = waiting.Dequeue();
                else
                    ReadEvents(waiting);
            }
        }
        finally
        {
            _memory.EndFault();
        }
    }

    /// <summary>Puts pages into a space that did not ask; what is there already stays. False when it is changing.</summary>
    public bool Offer(VirtualAddress start, ReadOnlySpan<byte> pages)
    {
        lock (_gate)
            return _closed || Copy(start, pages, out _) is not Errno.EAGAIN;
    }

    /// <summary>Waits until the events that their causes no longer wait for have been dealt with.</summary>
    public void AwaitEvents()
    {
        // Whoever reads an event holds the gate from before its cause goes on until it is dealt with.
        lock (_gate)
        {
        }
    }

    /// <summary>Whether anybody still has this address space. Takes no lock.</summary>
    public bool IsAlive()
    {
        // Nothing is ever mapped at the first page, so nothing is changed: ENOENT from the living, ESRCH from the dead.
        Span<byte> page = stackalloc byte[(int)PageSize.Bytes];
        return !_closed && _door.Copy(VirtualAddress.Null, page, out _) != Errno.ESRCH;
    }

    /// <summary>Closes the door; nobody may have this address space any more. Whoever is at it gets an <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        // Not under the gate: whoever disposes may hold the clone's, and a fork takes the two the other way round.
        _closed = true;
        _door.Dispose();
    }

    private void Apply(UserfaultMessage message)
    {
        switch (message.Event)
        {
            case UserfaultEvent.Fork:
                _memory.Born(this, message.Child!, _pages);
                break;
            case UserfaultEvent.Remap:
                _pages = _pages.Moved(message.Range, message.To);
                _left.Add(message.Range);
                break;
            case UserfaultEvent.Unmap when _left.Remove(message.Range):
                // Nothing was left there; what is there now has come since.
                break;
            case UserfaultEvent.Remove or UserfaultEvent.Unmap:
                _pages = _pages.Without(message.Range);
                break;
            default:
                throw new InvalidOperationException($"no event: {message.Event}");
        }
    }

    private void ReadEvents(Queue<VirtualAddress> faults)
    {
        while (TryRead(out var fault))
        {
            if (fault is { } page)
                faults.Enqueue(page);
        }
        // Until whoever caused the event has run, the kernel goes on to say EAGAIN; it tells nobody when that is over.
        Thread.Yield();
    }

    /// <summary>False when the space changes: to be tried again after its events.</summary>
    private bool TryServe(VirtualAddress page, byte[] buffer)
    {
        MissingPages seen;
        lock (_gate)
            seen = _pages;
        if (seen.Find(page) is not { } piece)
            return TryZero(seen, page);
        var window = WindowAt(piece, page);
        var bytes = buffer.AsSpan(0, (int)window.Range.LengthBytes);
        _memory.Read(window.Offset, bytes);
        if (!TryCopy(seen, window, page, bytes))
            return false;
        _memory.Served(window, bytes);
        return true;
    }

    private MissingPiece WindowAt(MissingPiece piece, VirtualAddress page)
    {
        lock (_gate)
        {
            var goesOn = page == _lastEnd;
            _windowBytes = goesOn ? Math.Min(_windowBytes * 2, LargestWindowBytes) : _memory.WindowBytes;
            var window = piece.Within(AddressRange.FromLength(goesOn ? page : page.AlignDown(_memory.WindowBytes), _windowBytes));
            _lastEnd = window.Range.End;
            return window;
        }
    }

    private bool TryCopy(MissingPages seen, MissingPiece window, VirtualAddress page, ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            if (_closed)
                return true;
            if (!ReferenceEquals(_pages, seen))
                return false;
            var errno = Copy(window.Range.Start, bytes, out var filled);
            // The window reaches over the border of a mapping, since mprotect or madvise have split it; the page does not.
            if (errno == Errno.ENOENT && window.Range.LengthBytes > PageSize.Bytes)
                errno = Copy(page, bytes.Slice((int)(page - window.Range.Start), (int)PageSize.Bytes), out filled);
            return Settled(errno, page, filled);
        }
    }

    private bool TryZero(MissingPages seen, VirtualAddress page)
    {
        lock (_gate)
        {
            if (_closed)
                return true;
            if (!ReferenceEquals(_pages, seen))
                return false;
            var next = seen.NextPieceFrom(page);
            var length = Math.Min(MostZeroBytes, next - page);
            var errno = _door.Zero(AddressRange.FromLength(page, length), out var filled);
            if (errno is Errno.ENOENT && length > PageSize.Bytes)
                errno = _door.Zero(AddressRange.FromLength(page, PageSize.Bytes), out filled);
            if (filled > 0)
                _memory.ServedZeros(AddressRange.FromLength(page, (ulong)filled));
            return Settled(errno is Errno.EEXIST ? Errno.None : errno, page, filled > 0);
        }
    }

    /// <summary>Copies past pages that are there already.</summary>
    private Errno Copy(VirtualAddress start, ReadOnlySpan<byte> pages, out bool filled)
    {
        filled = true;
        while (!pages.IsEmpty)
        {
            var errno = _door.Copy(start, pages, out var done);
            if (errno == Errno.EEXIST)
            {
                done += (int)PageSize.Bytes;
                filled = false;
            }
            else if (errno != Errno.None)
            {
                return errno;
            }
            start += (ulong)done;
            pages = pages[Math.Min(done, pages.Length)..];
        }
        return Errno.None;
    }

    private bool Settled(Errno errno, VirtualAddress page, bool filled)
    {
        // Nobody changes anything at this moment, so nothing is left to be told.
        if (errno != Errno.EAGAIN)
            _left.Clear();
        switch (errno)
        {
            case Errno.None when filled:
                return true;
            case Errno.None or Errno.ENOENT or Errno.ESRCH:
                // Somebody else was faster, or what faulted is not there any more: whoever waits looks again.
                _ = _door.Wake(AddressRange.FromLength(page, PageSize.Bytes));
                return true;
            case Errno.EAGAIN:
                return false;
            default:
                throw new LinuxException("ioctl(UFFDIO_COPY)", errno, string.Create(CultureInfo.InvariantCulture, $"page {page}"));
        }
    }
}
