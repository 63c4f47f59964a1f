using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Clones;

/// <summary>Moments of a clone's birth and start in nanoseconds of CLOCK_MONOTONIC, as the template and the clone took them.</summary>
internal readonly record struct CloneTimes(
    long OrderedNanoseconds, long ForkedNanoseconds, long EnteredNanoseconds, long PreparedNanoseconds, long ThreadedNanoseconds, long StartedNanoseconds, long DescribedNanoseconds, long RunningNanoseconds)
{
    public static CloneTimes Decode(ReadOnlySpan<byte> message) => new(
        CloneTimestamps.Decode(message, ClonePhase.Ordered),
        CloneTimestamps.Decode(message, ClonePhase.Forked),
        CloneTimestamps.Decode(message, ClonePhase.Entered),
        CloneTimestamps.Decode(message, ClonePhase.Prepared),
        CloneTimestamps.Decode(message, ClonePhase.Threaded),
        CloneTimestamps.Decode(message, ClonePhase.Started),
        CloneTimestamps.Decode(message, ClonePhase.Described),
        CloneTimestamps.Decode(message, ClonePhase.Running));
}
