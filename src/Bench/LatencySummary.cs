namespace Snapshots.Bench;

/// <summary>Percentiles of a latency in microseconds.</summary>
public sealed record LatencySummary(double Median, double P90, double P99, double P999, long Count);
