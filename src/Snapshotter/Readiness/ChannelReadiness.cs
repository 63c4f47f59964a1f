using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>channel</c>: the worker writes the line <c>ready</c> to its channel.</summary>
/// <param name="afterAnswers">Lines before it are answers to what the worker was asked for, and let pass: a clone that gets ready once more.</param>
public sealed class ChannelReadiness(bool afterAnswers = false) : ReadinessSpec
{
    public override Images.V1.Readiness ToImage() => new() { Channel = true };

    public override string ToString() => "channel: waits for the line 'ready'";

    protected override bool WaitCore(IWorker worker, Deadline deadline)
    {
        if (worker.Lines is not { } lines)
            throw new WorkerNotReadyException("it has no channel to say so on: choose another way with --ready");
        while (lines.HasLine || deadline.WaitReadable(lines.Channel, worker.PidFd))
        {
            var line = lines.Read(deadline.Left);
            if (line is null)
                return false;
            if (line == "ready")
                return true;
            if (!afterAnswers)
                throw new WorkerNotReadyException($"the worker wrote '{line}' to its channel instead of 'ready'");
        }
        return false;
    }
}
