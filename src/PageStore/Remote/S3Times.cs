namespace Snapshots.PageStore.Remote;

/// <summary>How long an object store may take. Each operation ends in bounded time, with its answer or an error.</summary>
/// <param name="Connect">To a connection.</param>
/// <param name="Attempt">From a request to the headers of its answer; for an upload with the sending of its part.</param>
/// <param name="Stall">Between two pieces of an answer.</param>
/// <param name="Operation">For everything together, repetitions included, if few bytes move.</param>
/// <param name="LeastBytesPerSecond">What else may be taken for the bytes.</param>
/// <param name="Attempts">Of one request, of which all but the first are repetitions with growing pauses.</param>
internal sealed record S3Times(TimeSpan Connect, TimeSpan Attempt, TimeSpan Stall, TimeSpan Operation, long LeastBytesPerSecond, int Attempts)
{
    public static S3Times Default { get; } = new(
        Connect: TimeSpan.FromSeconds(5), Attempt: TimeSpan.FromSeconds(20), Stall: TimeSpan.FromSeconds(10), Operation: TimeSpan.FromSeconds(60), LeastBytesPerSecond: 1 << 20, Attempts: 4);

    public TimeSpan For(long bytes) => Operation + TimeSpan.FromSeconds((double)bytes / LeastBytesPerSecond);
}
