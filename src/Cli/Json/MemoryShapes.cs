namespace Snapshots.Cli.Json;

/// <summary>Memory of some processes, as docs/memory.md defines it. What counts shared pages once for each process is there for a single one only.</summary>
public sealed record MemoryRow(
    uint Processes,
    ulong PssKib,
    ulong PrivateKib,
    ulong PrivateCleanKib,
    ulong PrivateDirtyKib,
    ulong SwapKib,
    ulong PageTablesKib,
    ulong? ResidentKib = null,
    ulong? HugeKib = null,
    ulong? SharedKib = null,
    ulong? SharedCleanKib = null,
    ulong? SharedDirtyKib = null);

/// <summary>One resident template with all that belongs to its snapshot.</summary>
/// <param name="Total">Template, parked and live clones together.</param>
/// <param name="Filling">Clones run already, and get their memory page by page.</param>
/// <param name="CountedBytes">Of the template, against the budget: without what it shares with its parent's.</param>
/// <param name="ParentDigest">Of the snapshot whose template it is a fork of; absent when it was built alone.</param>
public sealed record TemplateRow(
    string Snapshot,
    string Digest,
    uint Pid,
    bool InUse,
    DateTimeOffset LastUsed,
    uint ParkedCount,
    uint CloneCount,
    MemoryRow Template,
    MemoryRow Parked,
    MemoryRow Clones,
    MemoryRow Total,
    bool Filling,
    ulong CountedBytes,
    string? ParentDigest = null);

/// <param name="BudgetBytes">Absent when templates may have any amount.</param>
public sealed record TemplateList(ulong? BudgetBytes, IReadOnlyList<TemplateRow> Templates);
