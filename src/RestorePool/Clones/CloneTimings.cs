namespace Snapshots.RestorePool.Clones;

/// <summary>Durations of the phases of a clone's start, in microseconds.</summary>
/// <param name="Order">From the caller's request until the template had the order.</param>
/// <param name="Fork">Until the clone took its first step.</param>
/// <param name="Sandbox">Until it was in its namespaces.</param>
/// <param name="Descriptors">Until its descriptors and memory objects were there.</param>
/// <param name="Threads">Until all its threads existed.</param>
/// <param name="Finish">Until everything else was set and the next step was application code.</param>
/// <param name="Running">The sum: from the request until application code runs.</param>
public readonly record struct CloneTimings(double Order, double Fork, double Sandbox, double Descriptors, double Threads, double Finish, double Running)
{
    internal static CloneTimings Between(long requestedNanoseconds, CloneTimes times) => new(
        Microseconds(requestedNanoseconds, times.OrderedNanoseconds),
        Microseconds(times.OrderedNanoseconds, times.ForkedNanoseconds),
        Microseconds(times.ForkedNanoseconds, times.EnteredNanoseconds),
        Microseconds(times.EnteredNanoseconds, times.DescribedNanoseconds),
        Microseconds(times.DescribedNanoseconds, times.ThreadedNanoseconds),
        Microseconds(times.ThreadedNanoseconds, times.RunningNanoseconds),
        Microseconds(requestedNanoseconds, times.RunningNanoseconds));

    private static double Microseconds(long from, long until) => (until - from) / 1000.0;
}
