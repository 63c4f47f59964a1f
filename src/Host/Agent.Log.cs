using Microsoft.Extensions.Logging;

namespace Snapshots.Host;

/// <summary>What the agent says in its log.</summary>
internal static partial class AgentLog
{
    [LoggerMessage(LogLevel.Information, "serving {Store} on {Socket}")]
    public static partial void Serving(ILogger log, string socket, string store);

    [LoggerMessage(LogLevel.Information, "stopping; {Count} clones run")]
    public static partial void Stopping(ILogger log, int count);

    [LoggerMessage(LogLevel.Warning, "clone {Id} (pid {Pid}) did not end in time")]
    public static partial void StillRunning(ILogger log, string id, int pid);

    [LoggerMessage(LogLevel.Information, "stopped")]
    public static partial void Stopped(ILogger log);
}
