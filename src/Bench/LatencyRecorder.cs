using HdrHistogram;

namespace Snapshots.Bench;

/// <summary>Collects latencies with three significant digits from 100 ns to an hour. One thread at a time.</summary>
public sealed class LatencyRecorder
{
    private const long HighestNanoseconds = 3_600_000_000_000;
    private const int SignificantDigits = 3;
    private readonly LongHistogram _histogram = new(HighestNanoseconds, SignificantDigits);

    public long Count => _histogram.TotalCount;

    public void Add(double microseconds) =>
        _histogram.RecordValue(Math.Clamp((long)(microseconds * 1000), 1, HighestNanoseconds));

    public void Add(LatencyRecorder other) => _histogram.Add(other._histogram);

    /// <summary>Null when nothing was recorded: no percentile of nothing is a number.</summary>
    public LatencySummary? Summarise() => Count == 0
        ? null
        : new LatencySummary(At(50), At(90), At(99), At(99.9), Count);

    /// <summary>The summary of latencies that there must be some of.</summary>
    public LatencySummary Required() => Summarise() ?? throw new InvalidOperationException("nothing was measured");

    private double At(double percentile) => Math.Round(_histogram.GetValueAtPercentile(percentile) / 1000.0, 1);
}
