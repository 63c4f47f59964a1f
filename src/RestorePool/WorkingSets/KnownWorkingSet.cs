using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.RestorePool.Templates;

namespace Snapshots.RestorePool.WorkingSets;

/// <summary>What is known of a snapshot's working set on this host: read once, added to by whoever learns more, and kept. Thread-safe.</summary>
internal sealed class KnownWorkingSet
{
    private readonly TemplateSource _source;
    private readonly Lock _gate = new();
    private WorkingSet? _set;

    public KnownWorkingSet(TemplateSource source)
    {
        _source = source;
        _set = source.ReadWorkingSet?.Invoke();
    }

    /// <summary>Not to be changed; null when nothing is known.</summary>
    public WorkingSet? Current
    {
        get
        {
            lock (_gate)
                return _set;
        }
    }

    /// <summary>What every one of some clones wrote and read from files.</summary>
    public void AddTouched(WorkingSet touched)
    {
        lock (_gate)
        {
            if (_set is not null)
                touched.Read.AddRange(_set.Read);
            _set = touched;
        }
        _source.SaveWorkingSet?.Invoke(touched);
    }

    /// <summary>
    /// What clones needed beyond what was known already, in the order of first use. A little more is left out: requests differ, and the set would grow
    /// to all that any of them needs.
    /// </summary>
    public void AddReadOrder(IReadOnlyList<PageRange> order)
    {
        const ulong WorthWhile = 8;
        WorkingSet learned;
        lock (_gate)
        {
            var known = _set is null ? 0 : Pages(_set.Written.Concat(_set.Read));
            if (Pages(order) * WorthWhile <= known)
                return;
            learned = _set?.Clone() ?? new WorkingSet { RecordedUnixMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() };
            learned.Read.AddRange(order.Take(ImageLimits.MaxWorkingSetRanges - learned.Read.Count));
            _set = learned;
        }
        _source.SaveWorkingSet?.Invoke(learned);
    }

    private static ulong Pages(IEnumerable<PageRange> ranges) => ranges.Aggregate(0UL, (sum, range) => sum + range.PageCount);
}
