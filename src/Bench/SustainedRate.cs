using System.Diagnostics;

namespace Snapshots.Bench;

/// <summary>How many clones per second a host starts, lets answer, and ends, going on for some time.</summary>
public static class SustainedRate
{
    /// <returns>Clones per second over all threads.</returns>
    public static double Measure(CloneDriver driver, string? payloadJson, int threads, TimeSpan duration, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        long finished = 0;
        Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, _ =>
        {
            while (clock.Elapsed < duration && !cancellation.IsCancellationRequested)
            {
                driver.Run(payloadJson);
                Interlocked.Increment(ref finished);
            }
        });
        cancellation.ThrowIfCancellationRequested();
        return Math.Round(finished / clock.Elapsed.TotalSeconds, 1);
    }
}
