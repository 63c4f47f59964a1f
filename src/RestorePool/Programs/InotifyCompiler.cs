using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>inotify(7) instances: watches are added by path under the watch descriptors that the application knows.</summary>
internal static class InotifyCompiler
{
    /// <summary>INOTIFY_IOC_SETNEXTWD of uapi <c>linux/inotify.h</c>, Linux 4.18; needs CONFIG_CHECKPOINT_RESTORE.</summary>
    private const uint SetNextWatchDescriptor = 0x4004_4900;

    public static void Create(DescriptorScript script, OpenFile file)
    {
        var subject = script.SubjectOf(file);
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        var flags = (file.StatusFlags & OpenFlags.NonBlocking) | script.NextFlag(file.Id);
        var fd = script.Created(script.Builder.Syscall(SyscallNumber.InotifyInit1, subject, flags), file.Id, closeOnExec);
        // The kernel hands out watch descriptors in ascending order, beginning with 1.
        uint next = 1;
        foreach (var watch in file.Inotify.Watches.OrderBy(watch => watch.WatchDescriptor))
        {
            var watchSubject = $"{subject}, watch {watch.WatchDescriptor} on {watch.Path}";
            if (watch.WatchDescriptor != next)
                script.Builder.Syscall(SyscallNumber.Ioctl, watchSubject, fd, SetNextWatchDescriptor, watch.WatchDescriptor);
            script.Builder.Syscall(SyscallNumber.InotifyAddWatch, watchSubject, fd, script.Builder.Text(watch.Path), watch.Mask)
                .ExpectValue(watch.WatchDescriptor);
            next = watch.WatchDescriptor + 1;
        }
    }
}
