using Microsoft.Win32.SafeHandles;

namespace Snapshots.Sandboxes;

/// <summary>A program to start inside a sandbox.</summary>
public sealed record SpawnRequest
{
    /// <summary>Arguments, the first the program: a path, or a name to find in <c>PATH</c> of <see cref="Environment"/>.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>The whole environment, <c>K=V</c> each.</summary>
    public required IReadOnlyList<string> Environment { get; init; }

    public required string WorkingDirectory { get; init; }

    /// <summary>The index is the descriptor number in the program; null leaves it closed. The caller keeps its handles.</summary>
    public required IReadOnlyList<SafeFileHandle?> Descriptors { get; init; }

    /// <summary>Start without address space layout randomisation (personality(2) ADDR_NO_RANDOMIZE).</summary>
    public bool DisableAslr { get; init; }
}

/// <summary>The program could not be started; nothing of it is left.</summary>
public sealed class SpawnException(string message, Exception? cause = null) : Exception(message, cause);
