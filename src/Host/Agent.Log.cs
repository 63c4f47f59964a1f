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

    [LoggerMessage(LogLevel.Information, "templates may have {Mebibytes} MiB of memory")]
    public static partial void TemplateMemory(ILogger log, double mebibytes);

    [LoggerMessage(LogLevel.Information, "dropped the template of {Snapshot} ({Digest}) for memory: {Mebibytes} MiB, unused for {Seconds:0.0} s")]
    public static partial void TemplateDropped(ILogger log, string snapshot, string digest, double mebibytes, double seconds);

    [LoggerMessage(LogLevel.Warning, "the template of {Snapshot} ({Digest}) has {Mebibytes} MiB, more than the {BudgetMebibytes} MiB of all templates: it stays until another is needed")]
    public static partial void TemplateOversized(ILogger log, string snapshot, string digest, double mebibytes, double budgetMebibytes);

    [LoggerMessage(LogLevel.Error, "the memory of {Snapshot} ({Digest}) cannot be completed: {Problem}. Clones that run go on until they need what is missing")]
    public static partial void FillFailed(ILogger log, string snapshot, string digest, string problem);

    [LoggerMessage(LogLevel.Information, "the template of {Snapshot} ({Digest}) shares no memory with that of its parent {Parent}: {Reason}")]
    public static partial void TemplateUnshared(ILogger log, string snapshot, string digest, string parent, string reason);

    [LoggerMessage(LogLevel.Warning, "the working set of {Digest} cannot be used or kept, its clones answer later: {Problem}")]
    public static partial void WorkingSetProblem(ILogger log, string digest, string problem);

    [LoggerMessage(LogLevel.Information, "stopped")]
    public static partial void Stopped(ILogger log);
}
