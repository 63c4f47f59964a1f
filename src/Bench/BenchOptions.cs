namespace Snapshots.Bench;

/// <summary>How a snapshot is measured.</summary>
public sealed record BenchOptions
{
    /// <summary>Clones whose latency is measured, one after the other.</summary>
    public int Count { get; init; } = 200;

    /// <summary>Cold starts, spread over the run.</summary>
    public int ColdCount { get; init; } = 5;

    /// <summary>JSON that each clone reads from its channel.</summary>
    public string? PayloadJson { get; init; }

    /// <summary>What is asked of a worker that listens; null takes the path of its readiness probe.</summary>
    public string? RequestPath { get; init; }

    /// <summary>Clones that are alive at once while their memory is read.</summary>
    public int LiveClones { get; init; } = 20;

    /// <summary>How long clones are launched for the sustained rate.</summary>
    public TimeSpan SustainedTime { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Threads that launch them.</summary>
    public int LauncherThreads { get; init; } = 2;

    /// <summary>Longest wait for one answer before the run is given up.</summary>
    public TimeSpan AnswerTimeout { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>A measurement could not be finished; names the clone and what it said.</summary>
public sealed class BenchException(string message, Exception? cause = null) : Exception(message, cause);
