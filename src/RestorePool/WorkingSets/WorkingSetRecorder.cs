using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Tracing;

namespace Snapshots.RestorePool.WorkingSets;

/// <summary>
/// Learns from the first clones of a snapshot that answered which pages all of them touch, or knows it from an earlier time. Thread-safe; costs
/// nothing once it knows.
/// </summary>
/// <param name="process">The snapshot's.</param>
/// <param name="use">Called once, when it knows, with what all samples have in common.</param>
internal sealed class WorkingSetRecorder(ProcessImage process, Action<WorkingSet> use)
{
    /// <summary>One clone's request is not like another's; what several of them touch has nothing to do with the request.</summary>
    private const int WantedSamples = 3;

    /// <summary>What a clone has touched when it ends after this has little to do with its first answer.</summary>
    private static readonly TimeSpan s_longestAnswer = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private TouchedPages? _common;
    private KnownWorkingSet? _known;
    private int _samples;
    private int _watching;
    private volatile bool _complete;

    /// <param name="known">What was learned earlier, and keeps what is learned.</param>
    public void Begin(KnownWorkingSet known)
    {
        _known = known;
        // One that knows only what was read has still to learn what is written.
        if (known.Current is not { Clones: > 0 } set)
            return;
        _complete = true;
        use(set);
    }

    /// <summary>Keeps the order in which the first clones of a lazy template needed its pages; null is nothing new.</summary>
    public void NoteReadOrder(IReadOnlyList<AddressRange>? order)
    {
        if (order is { Count: > 0 })
            _known?.AddReadOrder([.. Joined(order).Select(range => new PageRange { Start = range.Start.Value, PageCount = range.PageCount })]);
    }

    /// <summary>Takes a clone that has answered for a sample, if it still runs and samples are wanted.</summary>
    /// <param name="pidFd">Of <paramref name="pid"/>; may be closed by now.</param>
    public void Sample(int pid, SafeFileHandle pidFd)
    {
        if (!_complete && TouchedPages.Of(pid, pidFd, process) is { } touched)
            Add(touched);
    }

    /// <summary>
    /// Watches a clone that is expected to end as soon as it has answered, if samples are wanted: whoever hears of the answer comes too late for it.
    /// Null when none is wanted, or enough are under way.
    /// </summary>
    public WatchedClone? Watch(int pid, SafeFileHandle pidFd)
    {
        lock (_gate)
        {
            if (_complete || _samples + _watching >= WantedSamples)
                return null;
            _watching++;
        }
        return new WatchedClone(LastLook.Begin(pid, pidFd, () =>
        {
            if (TouchedPages.OfStoppedOrEnding(pid, process) is { } touched)
                Add(touched);
        }, s_longestAnswer, () =>
        {
            lock (_gate)
                _watching--;
        }));
    }

    private void Add(TouchedPages touched)
    {
        WorkingSet learned;
        lock (_gate)
        {
            if (_complete)
                return;
            _common = _common is null ? touched : new TouchedPages(Common(_common.Written, touched.Written), Common(_common.FromFiles, touched.FromFiles));
            if (++_samples < WantedSamples)
                return;
            _complete = true;
            learned = _common.ToWorkingSet(_samples);
            _common = null;
        }
        use(learned);
        _known?.AddTouched(learned);
    }

    private static IEnumerable<AddressRange> Joined(IReadOnlyList<AddressRange> order)
    {
        var current = order[0];
        foreach (var range in order.Skip(1))
        {
            if (range.Start == current.End)
            {
                current = new AddressRange(current.Start, range.End);
                continue;
            }
            yield return current;
            current = range;
        }
        yield return current;
    }

    private static List<VirtualAddress> Common(IReadOnlyCollection<VirtualAddress> left, IReadOnlyCollection<VirtualAddress> right)
    {
        var known = right.ToHashSet();
        return [.. left.Where(known.Contains)];
    }
}
