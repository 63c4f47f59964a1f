using Snapshots.Cli.Text;

namespace Snapshots.Cli.Json;

public sealed record SnapshotRow(
    string Name,
    string Digest,
    DateTimeOffset Created,
    IReadOnlyList<string> Command,
    ulong PagesBytes,
    ulong ResidentBytes,
    int Threads,
    int Mappings,
    int Descriptors,
    string Readiness,
    LayerDetails? Layer = null);

/// <summary>What a layer was made of. It needs nothing of that any more.</summary>
/// <param name="Parent">What the parent was called when the layer was made.</param>
/// <param name="ParentDigest">The parent itself; it may be gone.</param>
/// <param name="UnchangedBytes">Pages that the layer had in common with it.</param>
public sealed record LayerDetails(string Parent, string ParentDigest, ulong UnchangedBytes)
{
    /// <summary>For people.</summary>
    internal string Text => $"{(Parent.Length > 0 ? Parent : "a snapshot")} ({ParentDigest[..19]}), {Units.Bytes(UnchangedBytes)} unchanged";
}

/// <param name="Remarks">What users of the snapshot should know, a sentence each.</param>
/// <param name="WorkerPid">Of the worker that was launched for it and runs on.</param>
public sealed record CreatedSnapshot(
    string Name,
    string Digest,
    ulong PagesBytes,
    ulong ResidentBytes,
    int Threads,
    int Mappings,
    int Descriptors,
    double StoppedMicroseconds,
    double? ReadyMicroseconds,
    IReadOnlyList<string> Remarks,
    int? WorkerPid = null,
    LayerDetails? Layer = null);

public sealed record RemovedSnapshot(string Name, long FreedBytes);

public sealed record SnapshotDetails(
    SnapshotRow Snapshot,
    HostDetails Host,
    double StoppedMicroseconds,
    double? ReadyMicroseconds,
    string? WorkingDirectory,
    IReadOnlyList<ProcessDetails> Processes,
    IReadOnlyList<SharedMemoryDetails> SharedMemory,
    IReadOnlyList<string>? Program,
    IReadOnlyList<string> Remarks,
    TemplateRow? Memory = null,
    WorkingSetDetails? WorkingSet = null);

/// <summary>What the first clones that answered touched, all of them.</summary>
/// <param name="Clones">How many were looked at.</param>
public sealed record WorkingSetDetails(uint Clones, DateTimeOffset Recorded, ulong WrittenBytes, ulong FileBytes, ulong ReadBytes, IReadOnlyList<WorkingSetRange> Ranges);

/// <param name="Kind"><c>written</c>: private memory that each clone gets a copy of; <c>file</c>: pages of a mapped file.</param>
public sealed record WorkingSetRange(string Start, string End, string Kind, ulong Bytes, string Label);

public sealed record HostDetails(string KernelRelease, int CpuFlags, uint XstateBytes);

public sealed record ProcessDetails(
    uint Pid,
    string Name,
    string Executable,
    string WorkingDirectory,
    string Hostname,
    IReadOnlyList<ThreadDetails> Threads,
    IReadOnlyList<MappingDetails> Mappings,
    IReadOnlyList<DescriptorDetails> Descriptors);

public sealed record ThreadDetails(uint Tid, string Name, string StoppedIn, string SignalMask);

/// <param name="Sharing"><c>template</c>: shared with the template until a clone writes; <c>host</c>: shared with everything on the host; <c>own copy</c>: copied for each clone.</param>
public sealed record MappingDetails(string Start, string End, string Protection, string Kind, string Sharing, ulong Bytes, ulong StoredBytes, string Label);

public sealed record DescriptorDetails(uint Fd, string Kind, string Description, bool CloseOnExec);

public sealed record SharedMemoryDetails(uint Id, string Name, ulong Bytes, ulong StoredBytes);
