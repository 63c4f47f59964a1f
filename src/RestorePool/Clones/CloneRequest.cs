using System.Collections.ObjectModel;

namespace Snapshots.RestorePool.Clones;

/// <summary>What the caller wants of one clone.</summary>
public sealed record CloneRequest
{
    /// <summary>The clone's identity: unique among the live clones of the farm.</summary>
    public required string Id { get; init; }

    /// <summary>A JSON value that the clone reads from its channel; null is JSON null.</summary>
    public string? PayloadJson { get; init; }

    /// <summary>Variables that the clone is told of through its channel, on top of the environment it was frozen with.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = ReadOnlyDictionary<string, string>.Empty;

    /// <summary>Leave the channel silent: a clone that waits for its request stays idle until <see cref="Clone.SendRequest"/>.</summary>
    public bool WithholdRequest { get; init; }

    /// <summary>
    /// The clone will end as soon as it has answered. The first ones of a snapshot are then watched by ptrace(2) for what they touch, and nobody else may
    /// trace them; others are looked at when <see cref="Clone.NoteAnswered"/> is called.
    /// </summary>
    public bool EndsWithAnswer { get; init; }

    /// <summary>Leave parked clones alone and fork a new one: what a request meets that finds none parked.</summary>
    public bool ForkOnDemand { get; init; }
}
