using System.Globalization;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>Files, directories and the harmless character devices: what is opened again by path in each clone.</summary>
internal sealed class RegularFiles(CaptureContext context)
{
    private const uint OnlyPath = 0x200000;
    private const string ProcDirectory = "/proc/";

    /// <summary>Major and minor numbers of the devices that keep nothing per open file (uapi <c>linux/major.h</c>, mem(4), random(4)).</summary>
    private static readonly HashSet<(uint Major, uint Minor)> HarmlessDevices = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)];

    private const uint FirstTerminalMajor = 4;
    private const uint TerminalMajor = 5;
    private const uint FirstPseudoTerminalMajor = 136;
    private const uint LastPseudoTerminalMajor = 143;

    public void Capture(CapturedFile file)
    {
        if (RefusesType(file) | RefusesLocks(file) || RefusesPath(file))
            return;
        file.Image.Regular = new RegularFile
        {
            File = context.Files.IndexOf(IdentityOf(file)),
            OffsetBytes = file.Status.IsRegular || file.Status.IsDirectory ? (ulong)file.Info.Position : 0,
        };
    }

    private static FileIdentity IdentityOf(CapturedFile file) => new()
    {
        Path = file.Link,
        SizeBytes = file.Status.SizeBytes,
        MtimeNs = file.Status.ModifiedNanoseconds,
        Device = file.Status.Device,
        Inode = file.Status.Inode,
        Mode = file.Status.Mode,
    };

    private bool RefusesType(CapturedFile file)
    {
        var status = file.Status;
        if (status.IsRegular || status.IsDirectory || (file.Image.StatusFlags & OnlyPath) != 0)
            return false;
        var device = (status.RawMajor, status.RawMinor);
        if (status.IsCharacterDevice && HarmlessDevices.Contains(device))
            return false;
        if (status.IsCharacterDevice && device.RawMajor is FirstTerminalMajor or TerminalMajor or (>= FirstPseudoTerminalMajor and <= LastPseudoTerminalMajor))
            context.Refuse(file.Subject, "a terminal", "Redirect stdin from /dev/null and output to files or pipes, or launch with `snapshots create`.");
        else if (status.IsCharacterDevice || status.IsBlockDevice)
            context.Refuse(file.Subject, $"device {device.RawMajor}:{device.RawMinor} keeps state of its own", "Close it before the worker is ready.");
        else
            context.Refuse(file.Subject, "a named pipe", "Close it before the worker is ready, or use the channel.");
        return true;
    }

    private bool RefusesLocks(CapturedFile file)
    {
        if (file.Info.Locks.Count == 0)
            return false;
        context.Refuse(file.Subject, $"the file is locked ({file.Info.Locks[0].Trim()}): clones would all hold the one lock",
            "Release the lock before the worker is ready and take it again in the clone.");
        return true;
    }

    /// <summary>The path must lead to the same file in the target's view, or clones would open another one.</summary>
    private bool RefusesPath(CapturedFile file)
    {
        if (file.Link.StartsWith(ProcDirectory, StringComparison.Ordinal) && RefusesProcess(file))
            return true;
        var errno = FileStatus.At($"/proc/{context.Pid}/root{file.Link}", followLast: false, out var status);
        if (errno == Errno.None && status.Device == file.Status.Device && status.Inode == file.Status.Inode)
            return false;
        var what = file.Status.LinkCount == 0 || file.Link.EndsWith(" (deleted)", StringComparison.Ordinal)
            ? "the file was deleted while it was open"
            : errno == Errno.None ? "another file has taken its path" : $"its path cannot be opened again ({errno})";
        context.Refuse(file.Subject, what, "Close it before the worker is ready, keep its name, or use a memfd for scratch data.");
        return true;
    }

    /// <summary><c>/proc/N/…</c>: the process keeps its own number in clones; others do not exist there.</summary>
    private bool RefusesProcess(CapturedFile file)
    {
        var rest = file.Link.AsSpan(ProcDirectory.Length);
        var slash = rest.IndexOf('/');
        var first = slash < 0 ? rest : rest[..slash];
        if (!int.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number == OwnPid())
            return false;
        context.Refuse(file.Subject, $"it belongs to process {number}, which clones do not have", "Close it before the worker is ready.");
        return true;
    }

    /// <summary>The target's pid as it sees itself.</summary>
    private int OwnPid() => ProcStatus.Read(context.Pid).NamespacePids[^1];
}
