using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Clones;

/// <summary>Moments of a clone's birth and start in nanoseconds of our CLOCK_MONOTONIC, as the template and the clone took them.</summary>
internal readonly record struct CloneTimes(
    long OrderedNanoseconds, long ForkedNanoseconds, long EnteredNanoseconds, long StartedNanoseconds, long DescribedNanoseconds, long ThreadedNanoseconds, long RunningNanoseconds)
{
    /// <param name="clockOffsetNanoseconds">How far the clone's clock is ahead of ours.</param>
    public static CloneTimes Decode(ReadOnlySpan<byte> message, long clockOffsetNanoseconds) => new(
        CloneTimestamps.Decode(message, ClonePhase.Ordered),
        CloneTimestamps.Decode(message, ClonePhase.Forked),
        CloneTimestamps.Decode(message, ClonePhase.Entered),
        CloneTimestamps.Decode(message, ClonePhase.Started),
        CloneTimestamps.Decode(message, ClonePhase.Described) - clockOffsetNanoseconds,
        CloneTimestamps.Decode(message, ClonePhase.Threaded) - clockOffsetNanoseconds,
        CloneTimestamps.Decode(message, ClonePhase.Running) - clockOffsetNanoseconds);
}
