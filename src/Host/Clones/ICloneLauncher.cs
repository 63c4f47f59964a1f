using Microsoft.Win32.SafeHandles;
using Snapshots.Client.V1;
using Snapshots.Linux;

namespace Snapshots.Host.Clones;

/// <summary>Where clones come from: the restore engine, or in tests something that starts ordinary processes. Thread-safe.</summary>
public interface ICloneLauncher
{
    /// <summary>Opens a snapshot and makes it ready to be cloned.</summary>
    /// <exception cref="AgentException">Not found, damaged, or not for this host.</exception>
    IPreparedSnapshot Prepare(string reference);
}

/// <summary>A snapshot that clones can be launched of. Thread-safe.</summary>
public interface IPreparedSnapshot
{
    /// <summary><c>sha256:</c> and the digest of its manifest.</summary>
    string Digest { get; }

    /// <summary>Returns when application code of the clone is about to run.</summary>
    /// <exception cref="AgentException">It could not be started; nothing of it is left.</exception>
    IRunningClone Launch(CloneOrder order);
}

/// <param name="Id">Unique among all clones of the agent.</param>
public sealed record CloneOrder(string Id, string? PayloadJson, IReadOnlyDictionary<string, string> Environment);

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

    /// <summary>Reaps the first process if it has ended; null while it runs.</summary>
    ExitStatus? TryGetExit();

    /// <summary>Ends the first process at once; does not wait.</summary>
    void Kill();
}
