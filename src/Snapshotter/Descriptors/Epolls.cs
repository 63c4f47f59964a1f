using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>
/// epoll(7): interests from fdinfo. The number in an interest is the one it was added under; what it watches now may have that number, another,
/// or none, which kcmp(KCMP_EPOLL_TFD) tells.
/// </summary>
internal sealed class Epolls(CaptureContext context)
{
    private readonly List<CapturedFile> _instances = [];

    public void Capture(CapturedFile file)
    {
        file.Image.Epoll = new Epoll();
        _instances.Add(file);
    }

    /// <summary>Finds what each interest watches, when all open files are known.</summary>
    public void Connect(IReadOnlyList<CapturedFile> files)
    {
        foreach (var instance in _instances)
        {
            var seen = new Dictionary<int, int>();
            foreach (var target in instance.Info.EpollTargets)
            {
                seen.TryGetValue(target.Fd, out var ordinal);
                seen[target.Fd] = ordinal + 1;
                AddInterest(instance, target, ordinal, files);
            }
        }
    }

    private void AddInterest(CapturedFile instance, EpollTarget target, int ordinal, IReadOnlyList<CapturedFile> files)
    {
        // Nearly always the number is still the file's; so that is asked first.
        var owner = context.Image.Descriptors.FirstOrDefault(entry => entry.Fd == (uint)target.Fd)?.OpenFile;
        var candidates = files.Where(file => file.Id == owner)
            .Concat(files.Where(file => file.Id != owner && file.Status.Inode == target.Inode && file.Status.Device == target.Device));
        var watched = candidates.FirstOrDefault(file => Kcmp.IsEpollTarget(context.Pid, file.Fd, instance.Fd, target.Fd, ordinal));
        if (watched is null)
        {
            context.Refuse(instance.Subject, $"it watches a file, added as fd {target.Fd}, that this process has closed and something else keeps open",
                "Remove it from the epoll instance (EPOLL_CTL_DEL) before closing it.");
            return;
        }
        instance.Image.Epoll.Interests.Add(new EpollInterest
        {
            Fd = (uint)target.Fd,
            OpenFile = watched.Id,
            Events = target.Events,
            Data = target.Data,
        });
    }
}
