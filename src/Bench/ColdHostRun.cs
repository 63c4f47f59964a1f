using System.Diagnostics;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;

namespace Snapshots.Bench;

/// <summary>
/// Measures the first clone of a snapshot on a host that has nothing of it in memory. Each round:
/// 1. With a new engine and a copy of the store that was never read, the page cache dropped: a clone whose template is loaded whole before it starts.
/// 2. The same, lazy, with nothing known of what it touches. The first round keeps what it learns.
/// 3. The same, with what was learned.
/// 4. Beside them the floors: posix_spawn of /bin/true, a clone of the complete template, and reading the working set alone.
/// </summary>
/// <param name="copy">Makes a copy of the store that was never read.</param>
public sealed class ColdHostRun(Func<ColdCopy> copy, RestoreOptions engineOptions, BenchOptions options, int rounds, Action<string> tell)
{
    private readonly LatencyRecorder _spawn = new();
    private readonly Pair _whole = new();
    private readonly Pair _lazy = new();
    private readonly Pair _learned = new();
    private readonly LatencyRecorder _warm = new();
    private readonly LatencyRecorder _read = new();
    private readonly List<ColdCopy> _copies = [];
    private WorkingSet? _workingSet;

    /// <exception cref="BenchException">A clone did not answer, or the working set was not learned.</exception>
    public ColdHostReport Run(CancellationToken cancellation)
    {
        try
        {
            return Measure(cancellation);
        }
        finally
        {
            _copies.ForEach(copy => copy.Dispose());
        }
    }

    private ColdHostReport Measure(CancellationToken cancellation)
    {
        for (var round = 0; round < rounds; round++)
        {
            cancellation.ThrowIfCancellationRequested();
            tell($"round {round + 1} of {rounds}");
            _spawn.Add(Time(() => PlainSpawn.RunAndWait("/bin/true")));
            Measure(_whole, lazy: false, known: null, thenWarm: true, cancellation);
            Measure(_lazy, lazy: true, known: null, thenWarm: false, cancellation);
            Measure(_learned, lazy: true, _workingSet ?? throw new BenchException("no clone taught what it touches: it answers without a fault, or not at all"), thenWarm: false, cancellation);
            _read.Add(ReadWorkingSet(_workingSet));
        }
        using var image = NewCopy().Open();
        var (whole, lazy, learned, warm, read) = (_whole.Running.Required(), _lazy.FirstAnswer.Required(), _learned.FirstAnswer.Required(), _warm.Required(), _read.Required());
        return new ColdHostReport(
            image.Name ?? image.Digest.ToString(),
            image.Digest.ToString(),
            image.Pages.LengthBytes,
            PagesOf(_workingSet!).LongCount() is var pages ? (ulong)pages * PageSize.Bytes : 0,
            _spawn.Required(),
            whole,
            _whole.FirstAnswer.Required(),
            _lazy.Running.Required(),
            lazy,
            _learned.Running.Required(),
            learned,
            warm,
            read,
            Math.Round(lazy.Median / whole.Median, 3),
            Math.Round(learned.Median / (warm.Median + read.Median), 3),
            _whole.ReceivedBytes,
            _lazy.ReceivedBytes,
            _learned.ReceivedBytes);
    }

    private void Measure(Pair pair, bool lazy, WorkingSet? known, bool thenWarm, CancellationToken cancellation)
    {
        using var engine = RestoreEngine.Start(engineOptions with { LazyFromBytes = lazy ? 0 : null, ParkedClones = 0 });
        engine.Sandboxes.WaitUntilFull(cancellation);
        var store = NewCopy();
        var image = store.Open();
        var source = new TemplateSource(image.Name!, image.Digest.ToString(), store.Open) { ReadWorkingSet = () => known, SaveWorkingSet = Learn };
        var probe = AnswerProbes.For(image.Manifest, options) ?? throw new BenchException("the worker has no channel and does not listen: nobody can tell when it answers");
        image.Dispose();
        var before = store.ReceivedBytes;
        var counting = new CountingProbe(probe, () => pair.ReceivedBytes = store.ReceivedBytes - before);
        var sample = new CloneDriver(engine, source, counting).Run(options.PayloadJson);
        pair.Running.Add(sample.Timings.Running);
        pair.FirstAnswer.Add(sample.FirstAnswerMicroseconds!.Value);
        if (!thenWarm)
            return;
        engine.Sandboxes.WaitUntilFull(cancellation);
        _warm.Add(new CloneDriver(engine, source, probe).Run(options.PayloadJson, forkOnDemand: true).FirstAnswerMicroseconds!.Value);
    }

    /// <summary>The first lazy clone's; those of later rounds would only make the same one of it.</summary>
    private void Learn(WorkingSet set)
    {
        if (set.Read.Count > 0)
            _ = Interlocked.CompareExchange(ref _workingSet, set, null);
    }

    /// <summary>In the order of the image, as a template with this working set is loaded.</summary>
    private double ReadWorkingSet(WorkingSet set)
    {
        using var image = NewCopy().Open();
        var wanted = PagesOf(set).ToHashSet();
        var offsets = new List<ulong>();
        foreach (var mapping in image.Manifest.Processes[0].Mappings)
        {
            foreach (var extent in mapping.Extents)
            {
                for (ulong page = 0; page < extent.PageCount; page++)
                {
                    if (wanted.Contains(mapping.Start + ((extent.PageIndex + page) * PageSize.Bytes)))
                        offsets.Add(extent.BlobOffset + (page * PageSize.Bytes));
                }
            }
        }
        var buffer = new byte[1 << 20];
        return Time(() =>
        {
            for (int first = 0, end; first < offsets.Count; first = end)
            {
                for (end = first + 1; end < offsets.Count && offsets[end] == offsets[end - 1] + PageSize.Bytes && (end - first) * (int)PageSize.Bytes < buffer.Length; end++)
                {
                }
                image.Pages.Read(offsets[first], buffer.AsSpan(0, (end - first) * (int)PageSize.Bytes));
            }
            return 0;
        });
    }

    private static IEnumerable<ulong> PagesOf(WorkingSet set) =>
        set.Read.Concat(set.Written).SelectMany(range => Enumerable.Range(0, (int)range.PageCount).Select(page => range.Start + ((ulong)page * PageSize.Bytes))).Distinct();

    /// <summary>Kept to the end of the run: the next copy would get the blocks of one that was removed, which are known by then.</summary>
    private ColdCopy NewCopy()
    {
        _copies.Add(copy());
        return _copies[^1];
    }

    private static double Time(Func<int> run)
    {
        var started = Stopwatch.GetTimestamp();
        var status = run();
        var microseconds = Stopwatch.GetElapsedTime(started).TotalMicroseconds;
        return status == 0 ? microseconds : throw new BenchException($"/bin/true ended with wait status {status}");
    }

    private sealed class Pair
    {
        public LatencyRecorder Running { get; } = new();

        public LatencyRecorder FirstAnswer { get; } = new();

        /// <summary>Of the last round; every round transfers the same.</summary>
        public long? ReceivedBytes { get; set; }
    }

    /// <summary>Looks at the counters when the answer is there, before the rest is fetched behind it.</summary>
    private sealed class CountingProbe(IAnswerProbe probe, Action answered) : IAnswerProbe
    {
        public string Await(Microsoft.Win32.SafeHandles.SafeFileHandle? channel, Func<Microsoft.Win32.SafeHandles.SafeFileHandle> openNetworkNamespace)
        {
            var answer = probe.Await(channel, openNetworkNamespace);
            answered();
            return answer;
        }
    }
}
