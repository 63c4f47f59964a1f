using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>
/// inotify(7): watches from fdinfo. The kernel keeps inodes, not paths; the path comes from the file handle that fdinfo shows
/// (open_by_handle_at), and must still lead to that inode.
/// </summary>
internal static class Inotifies
{
    public static void Capture(CaptureContext context, CapturedFile file)
    {
        if (FileControl.GetReadableBytes(file.Handle, file.Subject) != 0)
            context.Refuse(file.Subject, "unread inotify events", "Let the worker read them before it is ready.");
        file.Image.Inotify = new Inotify();
        foreach (var mark in file.Info.InotifyMarks)
        {
            if (PathOf(context.Pid, mark) is { } path)
                file.Image.Inotify.Watches.Add(new InotifyWatch { WatchDescriptor = (uint)mark.WatchDescriptor, Mask = mark.Mask, Path = path });
            else
                context.Refuse(file.Subject, $"watch {mark.WatchDescriptor} is on inode {mark.Inode}, whose path cannot be found",
                    "Remove the watch, or watch files of an ordinary local file system that keep their names.");
        }
    }

    /// <summary>A path in the target's view that leads to the watched inode; null when there is none.</summary>
    private static string? PathOf(int pid, InotifyMark mark)
    {
        foreach (var mount in MountInfo.Read(pid).Where(mount => mount.Device == mark.Device))
        {
            if (OpenPath.Directory($"/proc/{pid}/root{mount.MountPoint}", out var directory) != Errno.None)
                continue;
            using (directory)
            {
                if (FileHandles.Open(directory, mark.HandleType, mark.Handle, out var watched) != Errno.None)
                    continue;
                using (watched)
                using (var borrowed = new BorrowedDescriptor(watched))
                {
                    if (ReadLink.Read($"/proc/self/fd/{borrowed.Number}", out var path) == Errno.None && LeadsTo(pid, path, mark))
                        return path;
                }
            }
        }
        return null;
    }

    /// <summary>The path that the kernel gives must lead the target, in its own mounts, to the watched inode.</summary>
    private static bool LeadsTo(int pid, string path, InotifyMark mark) =>
        FileStatus.At($"/proc/{pid}/root{path}", followLast: true, out var status) == Errno.None
        && status.Inode == mark.Inode && status.Device == mark.Device;
}
