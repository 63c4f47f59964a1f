using System.Diagnostics;
using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;

namespace Snapshots.Bench;

/// <summary>
/// Measures one snapshot on this host.
/// 1. Build the template; run a few clones unmeasured, so that code is compiled and files are cached.
/// 2. Again and again: posix_spawn of /bin/true, a bare fork of the template, one parked clone, one clone forked on demand into a ready
///    sandbox. The floors are taken between the clones, so that whatever else the host does meets all of them alike, and everything waits until
///    the pools are full, so that nothing is measured beside their filling. Cold starts are spread over the same time.
/// 3. Memory of clones that are alive at once.
/// 4. The sustained rate.
/// </summary>
public sealed class BenchRun(RestoreEngine engine, SnapshotImage image, BenchOptions options, Action<string> tell, IColdStart? coldStart)
{
    private const int UnmeasuredClones = 10;
    private readonly LatencyRecorder _spawn = new();
    private readonly LatencyRecorder _fork = new();
    private readonly LatencyRecorder _cold = new();
    private readonly PhaseRecorders _clones = new();
    private readonly PhaseRecorders _forked = new();

    /// <exception cref="BenchException">A clone or a cold start did not answer.</exception>
    public BenchReport Run(CancellationToken cancellation)
    {
        tell("building the template");
        engine.WaitUntilReady(image, cancellation);
        var template = engine.Prepare(image);
        var probe = AnswerProbes.For(image.Manifest, options);
        var driver = new CloneDriver(engine, image, probe);
        for (var i = 0; i < UnmeasuredClones; i++)
            driver.Run(options.PayloadJson);
        MeasureLatencies(driver, cancellation);
        tell($"reading the memory of {options.LiveClones} live clones");
        var memory = IdleMemory.Measure(engine, image, probe, options.LiveClones, cancellation);
        tell($"launching clones for {options.SustainedTime.TotalSeconds} s");
        var rate = SustainedRate.Measure(driver, options.PayloadJson, options.LauncherThreads, options.SustainedTime, cancellation);
        return Report(memory, rate, template.BuildTime.TotalMicroseconds);
    }

    private void MeasureLatencies(CloneDriver driver, CancellationToken cancellation)
    {
        var template = engine.Prepare(image);
        using var sandbox = engine.Sandboxes.Take();
        var coldEvery = Math.Max(1, options.Count / Math.Max(1, options.ColdCount));
        for (var i = 0; i < options.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            if (coldStart is not null && i % coldEvery == 0 && _cold.Count < options.ColdCount)
            {
                tell($"clone {i} of {options.Count}, cold start {_cold.Count + 1} of {options.ColdCount}");
                _cold.Add(coldStart.Measure(cancellation));
            }
            engine.WaitUntilReady(image, cancellation);
            _spawn.Add(Time(() => PlainSpawn.RunAndWait("/bin/true")));
            _fork.Add(template.MeasureBareForkMicroseconds(sandbox));
            _clones.Add(driver.Run(options.PayloadJson));
            engine.WaitUntilReady(image, cancellation);
            _forked.Add(driver.Run(options.PayloadJson, forkOnDemand: true));
        }
    }

    private static double Time(Func<int> run)
    {
        var started = Stopwatch.GetTimestamp();
        var status = run();
        var microseconds = Stopwatch.GetElapsedTime(started).TotalMicroseconds;
        return status == 0 ? microseconds : throw new BenchException($"/bin/true ended with wait status {status}");
    }

    private BenchReport Report(IdleMemory memory, double rate, double templateMicroseconds)
    {
        var spawn = _spawn.Required();
        var clones = Latencies(_clones, spawn);
        var cold = _cold.Summarise();
        return new BenchReport(
            image.Name ?? image.Digest.ToString(),
            image.Digest.ToString(),
            new BenchFloors(spawn, _fork.Required()),
            cold,
            clones.CloneRunning,
            clones.CloneFirstAnswer,
            clones.Phases,
            clones.RatioRunningToPosixSpawn,
            _clones.ParkedShare,
            Latencies(_forked, spawn),
            cold is not null && clones.CloneFirstAnswer is { } answered ? Math.Round(cold.Median / answered.Median, 1) : null,
            rate,
            memory.PrivateKib,
            memory.PssKib,
            memory.Clones,
            options.LauncherThreads,
            Math.Round(templateMicroseconds, 1));
    }

    private static BenchClones Latencies(PhaseRecorders clones, LatencySummary spawn)
    {
        var running = clones.Running.Required();
        return new BenchClones(running, clones.FirstAnswer.Summarise(), clones.Summarise(), Math.Round(running.Median / spawn.Median, 3));
    }
}
