namespace Snapshots.Bench;

/// <summary>
/// What <c>snapshots bench --cold-host --json</c> prints: the first clone on a host that has nothing of the snapshot in memory. Latencies in microseconds, from the request on.
/// </summary>
/// <param name="PagesBytes">Memory in the image.</param>
/// <param name="WorkingSetBytes">What was learned from the first lazy clone: the pages that it needed until its answer, with their neighbours.</param>
/// <param name="WholeRunning">All of the memory loaded before the start: until application code runs.</param>
/// <param name="WholeFirstAnswer">The same clones, until their first answer.</param>
/// <param name="LazyRunning">Nothing known of what it will touch.</param>
/// <param name="LazyFirstAnswer">The same clones.</param>
/// <param name="LearnedRunning">With the working set that one lazy clone has left.</param>
/// <param name="LearnedFirstAnswer">The same clones.</param>
/// <param name="WarmFirstAnswer">A clone that is forked on demand from a complete template.</param>
/// <param name="ReadWorkingSet">Reading and decompressing the pages of the working set, page cache dropped, without any clone.</param>
/// <param name="RatioLazyToWhole">First answer of a lazy clone by the time that loading everything takes: medians of <see cref="LazyFirstAnswer"/> and <see cref="WholeRunning"/>.</param>
/// <param name="RatioLearnedToWarm">Median of <see cref="LearnedFirstAnswer"/> by the sum of those of <see cref="WarmFirstAnswer"/> and <see cref="ReadWorkingSet"/>.</param>
/// <param name="WholeReceivedBytes">Contents that crossed the link to the object store until the first answer; absent when packs lie on a disk.</param>
/// <param name="LazyReceivedBytes">The same, of the lazy clone.</param>
/// <param name="LearnedReceivedBytes">The same, of the lazy clone with a working set.</param>
public sealed record ColdHostReport(
    string Snapshot,
    string Digest,
    ulong PagesBytes,
    ulong WorkingSetBytes,
    LatencySummary PosixSpawnTrue,
    LatencySummary WholeRunning,
    LatencySummary WholeFirstAnswer,
    LatencySummary LazyRunning,
    LatencySummary LazyFirstAnswer,
    LatencySummary LearnedRunning,
    LatencySummary LearnedFirstAnswer,
    LatencySummary WarmFirstAnswer,
    LatencySummary ReadWorkingSet,
    double RatioLazyToWhole,
    double RatioLearnedToWarm,
    long? WholeReceivedBytes,
    long? LazyReceivedBytes,
    long? LearnedReceivedBytes);
