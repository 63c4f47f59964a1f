using System.Globalization;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>after:DURATION</c>: for workers that show nothing.</summary>
public sealed class DelayReadiness(TimeSpan delay) : ReadinessSpec
{
    public override Images.V1.Readiness ToImage() => new() { AfterMilliseconds = (ulong)delay.TotalMilliseconds };

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"after:{delay.TotalMilliseconds}ms");

    protected override bool WaitCore(IWorker worker, Deadline deadline) =>
        deadline.Left >= delay && deadline.Pause(delay, worker.PidFd);
}
