namespace Snapshots.RestorePool.Clones;

/// <summary>Durations of the phases of a clone's start, in microseconds, in their order. What a parked clone did before the request is not in them.</summary>
/// <param name="Order">From the caller's request until the template, or the parked clone, had the order.</param>
/// <param name="Fork">Until the clone took its first step; zero for a parked clone.</param>
/// <param name="Sandbox">Until it was in its namespaces; zero for a parked clone.</param>
/// <param name="Descriptors">Until its descriptors and memory objects were there.</param>
/// <param name="Threads">Until all its threads existed.</param>
/// <param name="Finish">Until everything else was set and the next step was application code.</param>
/// <param name="Running">The sum: from the request until application code runs.</param>
/// <param name="WasParked">It was born before it was asked for.</param>
public readonly record struct CloneTimings(
    double Order, double Fork, double Sandbox, double Descriptors, double Threads, double Finish, double Running, bool WasParked)
{
    internal static CloneTimings OfFork(long requestedNanoseconds, CloneTimes times) => new(
        Microseconds(requestedNanoseconds, times.OrderedNanoseconds),
        Microseconds(times.OrderedNanoseconds, times.ForkedNanoseconds),
        Microseconds(times.ForkedNanoseconds, times.EnteredNanoseconds),
        Microseconds(times.EnteredNanoseconds, times.DescribedNanoseconds),
        Microseconds(times.DescribedNanoseconds, times.ThreadedNanoseconds),
        Microseconds(times.ThreadedNanoseconds, times.RunningNanoseconds),
        Microseconds(requestedNanoseconds, times.RunningNanoseconds),
        WasParked: false);

    internal static CloneTimings OfParked(long requestedNanoseconds, CloneTimes times) => new(
        Microseconds(requestedNanoseconds, times.StartedNanoseconds),
        Fork: 0,
        Sandbox: 0,
        Microseconds(times.StartedNanoseconds, times.DescribedNanoseconds),
        Microseconds(times.DescribedNanoseconds, times.ThreadedNanoseconds),
        Microseconds(times.ThreadedNanoseconds, times.RunningNanoseconds),
        Microseconds(requestedNanoseconds, times.RunningNanoseconds),
        WasParked: true);

    private static double Microseconds(long from, long until) => (until - from) / 1000.0;
}
