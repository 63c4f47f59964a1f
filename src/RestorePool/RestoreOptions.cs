namespace Snapshots.RestorePool;

/// <summary>Settings of a <see cref="RestoreEngine"/>.</summary>
public sealed record RestoreOptions
{
    /// <summary>Sandboxes kept ready; each is a process of a few pages with five namespaces.</summary>
    public int SandboxPoolSize { get; init; } = 16;
}
