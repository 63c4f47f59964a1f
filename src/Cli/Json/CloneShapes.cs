namespace Snapshots.Cli.Json;

/// <summary>One clone of <c>snapshots clone</c>. The fields after <see cref="Timings"/> are there with --wait.</summary>
/// <param name="Error">Why it did not start; then nothing else is there.</param>
/// <param name="Answer">First line on its channel.</param>
/// <param name="Failure">Why the agent ended it: memory that it needed could not be had.</param>
public sealed record CloneRow(
    int Index,
    string Id,
    string Snapshot,
    uint? Pid,
    ErrorDescription? Error,
    TimingsRow? Timings,
    string? Answer = null,
    int? ExitCode = null,
    uint? Signal = null,
    string? Stdout = null,
    string? Stderr = null,
    string? Failure = null);

/// <summary>Microseconds from the order to launch; phases follow each other, running is their end.</summary>
/// <param name="Parked">Born before the order: fork and sandbox took none of its time.</param>
public sealed record TimingsRow(
    double Order,
    double Fork,
    double Sandbox,
    double Descriptors,
    double Threads,
    double Finish,
    double Running,
    bool Parked,
    double? FirstAnswer = null,
    double? Exit = null);

/// <summary>One clone of <c>snapshots ps</c>. Memory, as docs/memory.md defines it, is that of all its processes; it is absent when the clone has ended.</summary>
public sealed record ProcessRow(
    string Id,
    string Snapshot,
    uint Pid,
    string State,
    DateTimeOffset Started,
    long? PssKib,
    long? PrivateKib,
    DateTimeOffset? Ended = null,
    int? ExitCode = null,
    uint? Signal = null,
    long? SharedKib = null,
    long? PageTablesKib = null,
    long? SwapKib = null,
    long? PrivateCleanKib = null,
    long? PrivateDirtyKib = null,
    long? SharedCleanKib = null,
    long? SharedDirtyKib = null,
    uint? Processes = null,
    string? Failure = null);

public sealed record KilledClones(IReadOnlyList<string> Killed, IReadOnlyList<string> Ended, IReadOnlyList<string> Unknown);

public sealed record CloneLogs(string Id, string Stdout, string Stderr);

public sealed record AgentRow(string Run, bool Stopped);

public sealed record CheckRow(string Name, string Status, string Detail, string NeededFor, string? Cure);
