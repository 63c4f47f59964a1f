using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>One open file description of the target while it is being captured, with a duplicate of our own to ask it.</summary>
internal sealed class CapturedFile : IDisposable
{
    /// <summary>The lowest descriptor that refers to it.</summary>
    public required int Fd { get; init; }

    /// <summary>The text of <c>/proc/PID/fd/N</c>.</summary>
    public required string Link { get; init; }

    public required FdInfo Info { get; init; }

    public required FileStatus Status { get; init; }

    /// <summary>Shares the target's open file description: whatever is changed through it changes the target.</summary>
    public required SafeFileHandle Handle { get; init; }

    /// <summary>What is written to the image; its kind is set by the capture of that kind.</summary>
    public required OpenFile Image { get; init; }

    public uint Id => Image.Id;

    public string Subject => $"fd {Fd} ({Link})";

    public ObjectIdentity Identity => new(Status.Device, Status.Inode);

    public void Dispose() => Handle.Dispose();
}
