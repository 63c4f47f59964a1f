using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;

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

    private readonly Lock _gate = new();
    private TouchedPages? _common;
    private Action<WorkingSet>? _save;
    private int _samples;
    private volatile bool _complete;

    /// <param name="known">What was learned earlier; null to learn it.</param>
    /// <param name="save">Keeps what is learned.</param>
    public void Begin(WorkingSet? known, Action<WorkingSet>? save)
    {
        _save = save;
        if (known is null)
            return;
        _complete = true;
        use(known);
    }

    /// <summary>Takes a clone that has answered for a sample, if it still runs and samples are wanted.</summary>
    /// <param name="pidFd">Of <paramref name="pid"/>; may be closed by now.</param>
    public void Sample(int pid, SafeFileHandle pidFd)
    {
        if (_complete || TouchedPages.Of(pid, pidFd, process) is not { } touched)
            return;
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
        _save?.Invoke(learned);
    }

    private static List<VirtualAddress> Common(IReadOnlyCollection<VirtualAddress> left, IReadOnlyCollection<VirtualAddress> right)
    {
        var known = right.ToHashSet();
        return [.. left.Where(known.Contains)];
    }
}
