namespace Snapshots.RestorePool;

/// <summary>The snapshot cannot be restored on this host, for a reason that stays until the host or the snapshot changes.</summary>
public sealed class RestoreUnsupportedException(string message) : Exception(message);
