using System.Text.RegularExpressions;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>stdout:REGEX</c>: a line of its standard output matches.</summary>
public sealed class StdoutReadiness(Regex pattern) : ReadinessSpec
{
    private static readonly TimeSpan s_slice = TimeSpan.FromMilliseconds(50);

    public override Images.V1.Readiness ToImage() => new() { StdoutRegex = pattern.ToString() };

    public override string ToString() => $"stdout:{pattern}: waits for a matching line";

    protected override bool WaitCore(IWorker worker, Deadline deadline)
    {
        using var matched = new ManualResetEventSlim();
        worker.Output.Observe(line =>
        {
            if (pattern.IsMatch(line))
                matched.Set();
        });
        try
        {
            while (!matched.Wait(s_slice))
            {
                // The pipe's last line may still be on its way when the worker has ended already: it does not count, a dead worker cannot be frozen.
                if (deadline.IsOver || Linux.Syscalls.Poll.IsReadable(worker.PidFd, TimeSpan.Zero))
                    return false;
            }
            return true;
        }
        finally
        {
            worker.Output.Observe(_ => { });
        }
    }
}
