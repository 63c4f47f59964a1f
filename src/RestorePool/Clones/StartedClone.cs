using Snapshots.RestorePool.Programs;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Clones;

/// <summary>What the template hands back for an order.</summary>
internal readonly record struct StartedClone(SpawnedProcess Process, CloneTimes Times);

/// <summary>Moments of a start in nanoseconds of CLOCK_MONOTONIC, as the template and the clone took them.</summary>
internal readonly record struct CloneTimes(
    long OrderedNanoseconds, long ForkedNanoseconds, long EnteredNanoseconds, long DescribedNanoseconds, long ThreadedNanoseconds, long RunningNanoseconds)
{
    public static CloneTimes Decode(ReadOnlySpan<byte> message) => new(
        CloneTimestamps.Decode(message, ClonePhase.Ordered),
        CloneTimestamps.Decode(message, ClonePhase.Forked),
        CloneTimestamps.Decode(message, ClonePhase.Entered),
        CloneTimestamps.Decode(message, ClonePhase.Described),
        CloneTimestamps.Decode(message, ClonePhase.Threaded),
        CloneTimestamps.Decode(message, ClonePhase.Running));
}
