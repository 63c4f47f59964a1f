using System.Diagnostics;
using Snapshots.Client.V1;
using Snapshots.Linux;

namespace Snapshots.Host.Clones;

/// <summary>What the agent knows of one clone. Written by the launcher, then by the output pump; read from any thread.</summary>
public sealed class CloneRecord : IDisposable
{
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile byte[]? _answer;

    /// <param name="logDirectory">Where its logs go when it writes something.</param>
    /// <param name="orderedAt"><see cref="Stopwatch.GetTimestamp"/> when its launch began.</param>
    public CloneRecord(string id, string snapshot, string digest, string logDirectory, long orderedAt)
    {
        Id = id;
        Snapshot = snapshot;
        Digest = digest;
        LogDirectory = logDirectory;
        OrderedAt = orderedAt;
        Stdout = new LogFile(Path.Combine(logDirectory, "stdout.log"), AgentLimits.LogCapBytes);
        Stderr = new LogFile(Path.Combine(logDirectory, "stderr.log"), AgentLimits.LogCapBytes);
    }

    public string Id { get; }

    public string Snapshot { get; }

    public string Digest { get; }

    public string LogDirectory { get; }

    public long OrderedAt { get; }

    public DateTimeOffset Started { get; } = DateTimeOffset.UtcNow;

    public required IRunningClone Process { get; init; }

    public LogFile Stdout { get; }

    public LogFile Stderr { get; }

    /// <summary>Told about the answer and the end; called from the agent's own threads, so it must not block.</summary>
    public Action<CloneEvent>? Listener { get; init; }

    /// <summary>Position among the clones of its request.</summary>
    public uint Index { get; init; }

    /// <summary>First line on the channel; null until it came.</summary>
    public byte[]? Answer => _answer;

    /// <summary>Completes when the clone and all its processes are gone.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Meaningful once <see cref="Ended"/> is completed.</summary>
    public ExitStatus Exit { get; private set; }

    public DateTimeOffset EndedAt { get; private set; }

    public double MicrosecondsSinceOrder => Stopwatch.GetElapsedTime(OrderedAt).TotalMicroseconds;

    public void SetAnswer(byte[] line)
    {
        _answer = line;
        // Not on the thread that reads the output of all clones.
        ThreadPool.UnsafeQueueUserWorkItem(process => process.NoteAnswered(), Process, preferLocal: false);
        Listener?.Invoke(new CloneEvent
        {
            Index = Index,
            Id = Id,
            Answered = new CloneAnswered { Line = Google.Protobuf.ByteString.CopyFrom(line), Microseconds = MicrosecondsSinceOrder },
        });
    }

    /// <summary>Everything of the clone is gone and its logs are closed.</summary>
    public void SetEnded(ExitStatus exit, double microseconds)
    {
        Exit = exit;
        EndedAt = DateTimeOffset.UtcNow;
        _ended.SetResult();
        Listener?.Invoke(new CloneEvent { Index = Index, Id = Id, Exited = DescribeExit(microseconds) });
    }

    /// <param name="withMemory">Reads it now; a clone that ends meanwhile is described without.</param>
    public CloneStatus Describe(bool withMemory = false)
    {
        var memory = withMemory && !Ended.IsCompleted ? Process.ReadMemory() : null;
        var ended = Ended.IsCompleted;
        return new CloneStatus
        {
            Id = Id,
            Snapshot = Snapshot,
            Digest = Digest,
            Pid = (uint)Process.HostPid,
            State = ended ? CloneState.Ended : CloneState.Running,
            StartedUnixMs = Started.ToUnixTimeMilliseconds(),
            EndedUnixMs = ended ? EndedAt.ToUnixTimeMilliseconds() : 0,
            ExitCode = ended && !Exit.Signaled ? Exit.Value : 0,
            Signal = ended && Exit.Signaled ? (uint)Exit.Value : 0,
            Answer = Answer is { } answer ? Google.Protobuf.ByteString.CopyFrom(answer) : Google.Protobuf.ByteString.Empty,
            Failure = ended ? Process.Failure ?? string.Empty : string.Empty,
            Memory = memory is { } read ? MemoryMessages.Describe(read) : null,
        };
    }

    /// <summary>Closes the logs and kills the clone if it still runs.</summary>
    public void Dispose()
    {
        Process.Dispose();
        Stdout.Dispose();
        Stderr.Dispose();
    }

    private CloneExited DescribeExit(double microseconds) => new()
    {
        ExitCode = Exit.Signaled ? 0 : Exit.Value,
        Signal = Exit.Signaled ? (uint)Exit.Value : 0,
        Microseconds = microseconds,
        Stdout = Head(Stdout),
        Stderr = Head(Stderr),
        StdoutBytes = (ulong)Stdout.TotalBytes,
        StderrBytes = (ulong)Stderr.TotalBytes,
        Failure = Process.Failure ?? string.Empty,
    };

    private static Google.Protobuf.ByteString Head(LogFile log)
    {
        if (log.TotalBytes == 0)
            return Google.Protobuf.ByteString.Empty;
        var buffer = new byte[Math.Min(log.TotalBytes, AgentLimits.OutputInEventBytes)];
        var length = 0;
        for (int read; length < buffer.Length && (read = log.Read(length, buffer.AsSpan(length))) > 0;)
            length += read;
        return Google.Protobuf.ByteString.CopyFrom(buffer, 0, length);
    }
}
