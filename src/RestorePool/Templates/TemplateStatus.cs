using Snapshots.Linux.Proc;

namespace Snapshots.RestorePool.Templates;

/// <summary>One resident template, as it was when somebody asked.</summary>
/// <param name="Name">The snapshot, as it was called when the template was built.</param>
/// <param name="Pid">In our PID namespace.</param>
/// <param name="Memory">Of the template's process alone.</param>
/// <param name="ParkedPids">Clones that wait parked; one that is started meanwhile becomes a live clone with the same pid.</param>
/// <param name="Idle">Since its last use ended; zero while it is in use.</param>
/// <param name="InUse">A launch is under way, or queued by somebody who holds a <see cref="TemplateUse"/>; or templates of layers are forks of it.</param>
/// <param name="ParentDigest">The snapshot whose template it is a fork of; null when it was built alone.</param>
/// <param name="CountedBytes">What counts against the budget of all templates: resident memory when it was built, without what it shares with its parent.</param>
public sealed record TemplateStatus(
    string Name, string Digest, int Pid, ProcessMemory Memory, IReadOnlyList<int> ParkedPids, TimeSpan Idle, bool InUse, string? ParentDigest, long CountedBytes)
{
    /// <summary>Its clones get their memory page by page until a complete template has its place.</summary>
    public bool IsFilling { get; init; }
}

/// <summary>The template of a layer was built alone, and shares no memory with its parent's.</summary>
/// <param name="ParentName">What the parent was called when the layer was made.</param>
public sealed record UnsharedTemplate(string Name, string Digest, string ParentName, string Reason);

/// <summary>A template was dropped because all of them together had more memory than they may have.</summary>
/// <param name="ResidentBytes">What it had in memory when it was built, and the budget counted.</param>
/// <param name="Idle">Since its last use ended.</param>
public sealed record TemplateEviction(string Name, string Digest, long ResidentBytes, TimeSpan Idle);

/// <summary>A template was built that has more memory than all of them together may have.</summary>
/// <param name="ResidentBytes">What it has in memory.</param>
public sealed record OversizedTemplate(string Name, string Digest, long ResidentBytes, long BudgetBytes);
