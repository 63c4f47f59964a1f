namespace Snapshots.Host;

/// <summary>The wish that the agent ends, from a signal or a call; the first one counts.</summary>
public sealed class AgentStop
{
    private readonly TaskCompletionSource _requested = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Task Requested => _requested.Task;

    public void Request() => _requested.TrySetResult();
}
