using Snapshots.RestorePool.Templates;

namespace Snapshots.RestorePool;

/// <summary>Settings of a <see cref="RestoreEngine"/>.</summary>
public sealed record RestoreOptions
{
    /// <summary>Clones that are kept parked per template unless somebody chooses otherwise.</summary>
    public const int DefaultParkedClones = 4;

    /// <summary>256 MiB: less is loaded about as soon as clones can ask for what they need page by page.</summary>
    public const long DefaultLazyFromBytes = 256 << 20;

    /// <summary>1.4 MiB, which every clone has for itself while it waits; more of what it writes anyway is a choice (docs/performance.md).</summary>
    public const ulong DefaultPrefaultedPages = 360;

    /// <summary>Sandboxes kept ready; each is a process of a few pages with five namespaces.</summary>
    public int SandboxPoolSize { get; init; } = 16;

    /// <summary>
    /// Clones of each template that are kept parked: forked, in their sandbox, with their threads, before anybody asks. Each costs the page tables of
    /// the snapshot, a few hundred KiB per 100 MiB. 0 forks every clone on demand.
    /// </summary>
    public int ParkedClones { get; init; } = DefaultParkedClones;

    /// <summary>
    /// Most pages of which a clone gets copies at its birth because the first clones of its snapshot all wrote to them. 0 leaves it to page faults.
    /// </summary>
    public ulong PrefaultedPages { get; init; } = DefaultPrefaultedPages;

    /// <summary>
    /// Leave clones the host's CLOCK_MONOTONIC and CLOCK_BOOTTIME instead of letting both go on where they stood at the freeze: for programs that
    /// compare these clocks with other processes. Timers of an older image are then overdue at once.
    /// </summary>
    public bool HostClocks { get; init; }

    /// <summary>
    /// Snapshots with at least so many bytes of pages start their first clones before their memory is there; null waits for all of it, always.
    /// </summary>
    public long? LazyFromBytes { get; init; } = DefaultLazyFromBytes;

    /// <summary>
    /// Resident memory that all templates together may have, in bytes; null sets no limit. Beyond it those that nobody uses are dropped with their
    /// parked clones, the one that was used longest ago first; the one that was used last stays, however large it is.
    /// </summary>
    public long? TemplateMemoryBytes { get; init; }

    /// <summary>Told of each template that was dropped for memory. Called by launching threads, outside every lock; must not throw.</summary>
    public Action<TemplateEviction>? TemplateEvicted { get; init; }

    /// <summary>Told why the memory of a snapshot whose clones run already cannot be completed. Called by a thread of the engine, outside every lock; must not throw.</summary>
    public Action<TemplateSource, Exception>? FillFailed { get; init; }

    /// <summary>Told of the template of a layer that was built alone. Called by launching threads, outside every lock; must not throw.</summary>
    public Action<UnsharedTemplate>? TemplateUnshared { get; init; }

    /// <summary>Told of a template that is larger than <see cref="TemplateMemoryBytes"/> by itself. Called by launching threads, outside every lock; must not throw.</summary>
    public Action<OversizedTemplate>? TemplateOversized { get; init; }
}
