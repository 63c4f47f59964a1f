using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>channel</c>: the worker writes the line <c>ready</c> to its channel.</summary>
public sealed class ChannelReadiness : ReadinessSpec
{
    public override Images.V1.Readiness ToImage() => new() { Channel = true };

    public override string ToString() => "channel: waits for the line 'ready'";

    protected override bool WaitCore(LaunchedWorker worker, Deadline deadline)
    {
        while (deadline.WaitReadable(worker.Channel, worker.Process.PidFd))
        {
            var line = worker.ReadChannelLine(deadline.Left);
            if (line is null)
                return false;
            if (line == "ready")
                return true;
            throw new WorkerNotReadyException($"the worker wrote '{line}' to its channel instead of 'ready'");
        }
        return false;
    }
}
