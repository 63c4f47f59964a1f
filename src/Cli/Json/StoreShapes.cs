namespace Snapshots.Cli.Json;

public sealed record StoreCheckReport(int Snapshots, int Packs, long Pages, long Bytes, IReadOnlyList<StoreProblem> Problems, IReadOnlyList<string> Lost);

/// <param name="Proven">The contents contradict their hashes; otherwise they could not be read here, and repair leaves them.</param>
public sealed record StoreProblem(string Subject, string What, bool Proven, bool Repaired);

public sealed record CollectedGarbage(int RemovedFiles, int RewrittenPacks, long FreedBytes, string? KeptBecause);

/// <param name="Packs">Where they lie; with the two that follow absent when they lie in the store's directory.</param>
public sealed record StoreUsageReport(
    IReadOnlyList<SnapshotUsageRow> Snapshots, ulong LogicalBytes, ulong UniqueBytes, long StoredBytes, long GarbageBytes, string? Packs = null, long? CacheBytes = null, long? CacheLimitBytes = null);

public sealed record SnapshotUsageRow(string Name, ulong LogicalBytes, long StoredBytes, long ExclusiveBytes, long FreesBytes);

public sealed record TransferredSnapshot(string Name, string Digest, ulong PagesBytes, long FileBytes, string File);

/// <param name="Packs">Where they lie; with those that follow absent when they lie in the store's directory.</param>
public sealed record InitialisedStore(string Store, string? Packs, string? Endpoint, string? Region, long? CacheBytes);
