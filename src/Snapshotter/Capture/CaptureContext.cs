using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;

namespace Snapshots.Snapshotter.Capture;

/// <summary>
/// What every part of a capture shares: the stopped process, the image that is being filled, and the list of reasons to refuse.
/// Used from the one thread that freezes; not thread-safe.
/// </summary>
public sealed class CaptureContext
{
    /// <summary>The stopped process in our PID namespace.</summary>
    public required int Pid { get; init; }

    /// <summary>A pidfd of it (pidfd_open(2)).</summary>
    public required SafeFileHandle PidFd { get; init; }

    /// <summary>Filled by the capture parts.</summary>
    public required ProcessImage Image { get; init; }

    /// <summary>Filled by the capture parts; files go through <see cref="Files"/>, shared memory through <see cref="SharedMemory"/>.</summary>
    public required Manifest Manifest { get; init; }

    public required FileTable Files { get; init; }

    public required SharedMemoryTable SharedMemory { get; init; }

    /// <summary>Descriptors that each clone gets its own of, by the identity of the object behind them; known to whoever launched the worker.</summary>
    public required IReadOnlyDictionary<ObjectIdentity, ExternalRole> Externals { get; init; }

    /// <summary>Everything that stands against a snapshot; capture goes on after adding, so that the report is complete.</summary>
    public List<FreezeProblem> Problems { get; } = [];

    public void Refuse(string subject, string what, string cure) => Problems.Add(new FreezeProblem(Pid, subject, what, cure));
}

/// <summary>A file system object, by fstat(2).</summary>
public readonly record struct ObjectIdentity(ulong Device, ulong Inode);
