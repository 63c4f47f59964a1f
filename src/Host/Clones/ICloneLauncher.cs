using Microsoft.Win32.SafeHandles;
using Snapshots.Client.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;

namespace Snapshots.Host.Clones;

/// <summary>Where clones come from: the restore engine, or in tests something that starts ordinary processes. Thread-safe.</summary>
public interface ICloneLauncher
{
    /// <summary>Opens a snapshot and makes it ready to be cloned.</summary>
    /// <exception cref="AgentException">Not found, damaged, or not for this host.</exception>
    IPreparedSnapshot Prepare(string reference);

    /// <summary>Templates that are in memory now, with what they have there.</summary>
    IReadOnlyList<RestorePool.Templates.TemplateStatus> ListTemplates();

    /// <summary>Resident memory that all templates together may have, in bytes; null when there is no limit.</summary>
    long? TemplateMemoryBytes { get; }
}

/// <summary>A snapshot that clones can be launched of; what makes them stays in memory until this is disposed of. Thread-safe.</summary>
public interface IPreparedSnapshot : IDisposable
{
    /// <summary><c>sha256:</c> and the digest of its manifest.</summary>
    string Digest { get; }

    /// <summary>Returns when application code of the clone is about to run.</summary>
    /// <exception cref="AgentException">It could not be started; nothing of it is left.</exception>
    IRunningClone Launch(CloneOrder order);
}

/// <param name="Id">Unique among all clones of the agent.</param>
/// <param name="EndsWithAnswer">Whoever ordered it waits for its end.</param>
public sealed record CloneOrder(string Id, string? PayloadJson, IReadOnlyDictionary<string, string> Environment, bool EndsWithAnswer = false);

/// <summary>A clone with our ends of its pipes. <see cref="IDisposable.Dispose"/> kills it with all its processes and closes the ends.</summary>
public interface IRunningClone : IDisposable
{
    /// <summary>Its first process in our PID namespace.</summary>
    int HostPid { get; }

    CloneTimings Timings { get; }

    /// <summary>Our ends of its pipes; null where the worker had something else there.</summary>
    SafeFileHandle? Stdin { get; }

    SafeFileHandle? Stdout { get; }

    SafeFileHandle? Stderr { get; }

    /// <summary>Our end of its channel; null for workers without one.</summary>
    SafeFileHandle? Channel { get; }

    /// <summary>Becomes readable when the first process ended.</summary>
    SafeFileHandle PidFd { get; }

    /// <summary>It has given its first answer and may still run: a moment to learn from what it touched. May take some milliseconds.</summary>
    void NoteAnswered();

    /// <summary>Why it was ended by who gives it its memory; null when it was not.</summary>
    string? Failure { get; }

    /// <summary>Memory of all its processes; null when the first one has ended. Stops nobody.</summary>
    ProcessMemory? ReadMemory();

    /// <summary>Reaps the first process if it has ended; null while it runs.</summary>
    ExitStatus? TryGetExit();

    /// <summary>Ends the first process at once; does not wait.</summary>
    void Kill();
}
