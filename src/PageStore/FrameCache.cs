using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore;

/// <summary>The frames that a reader decompressed last, so that who reads a frame in parts pays for it once. Thread-safe.</summary>
internal sealed class FrameCache
{
    private readonly Lock _gate = new();
    // Guarded by _gate. The least recently used first; buffers are used again.
    private readonly LinkedList<(PackFile Pack, int Frame, byte[] Raw)> _order = [];
    private readonly Dictionary<(PackFile Pack, int Frame), LinkedListNode<(PackFile Pack, int Frame, byte[] Raw)>> _frames = [];
    private readonly Stack<byte[]> _free = [];

    /// <summary>Copies from a frame that is here; false when it is not.</summary>
    public bool TryCopy(PackFile pack, int frame, int offset, Span<byte> destination)
    {
        lock (_gate)
        {
            if (!_frames.TryGetValue((pack, frame), out var node))
                return false;
            _order.Remove(node);
            _order.AddLast(node);
            node.Value.Raw.AsSpan(offset, destination.Length).CopyTo(destination);
            return true;
        }
    }

    /// <summary>A buffer of <see cref="PageStoreLimits.MaxFrameBytes"/> to be given back by <see cref="Keep"/> or <see cref="Return"/>.</summary>
    public byte[] TakeBuffer()
    {
        lock (_gate)
        {
            if (_free.TryPop(out var free))
                return free;
        }
        return GC.AllocateUninitializedArray<byte>(PageStoreLimits.MaxFrameBytes);
    }

    public void Return(byte[] buffer)
    {
        lock (_gate)
        {
            if (_free.Count < PageStoreLimits.CachedFrames)
                _free.Push(buffer);
        }
    }

    /// <summary>Keeps a frame; <paramref name="raw"/> is the cache's from now on.</summary>
    public void Keep(PackFile pack, int frame, byte[] raw)
    {
        lock (_gate)
        {
            if (_frames.ContainsKey((pack, frame)))
            {
                _free.Push(raw); // Another thread was faster.
                return;
            }
            if (_order.Count == PageStoreLimits.CachedFrames)
            {
                var (oldPack, oldFrame, oldRaw) = _order.First!.Value;
                _order.RemoveFirst();
                _frames.Remove((oldPack, oldFrame));
                _free.Push(oldRaw);
            }
            _frames.Add((pack, frame), _order.AddLast((pack, frame, raw)));
        }
    }
}
