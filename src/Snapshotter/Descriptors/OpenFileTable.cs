using Snapshots.Images.V1;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;
using ProcDescriptors = Snapshots.Linux.Proc.Descriptors;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>Reads the descriptor table and groups descriptors by open file description.</summary>
internal static class OpenFileTable
{
    /// <summary>The open files in the order of their lowest descriptor; fills <see cref="ProcessImage.Descriptors"/>.</summary>
    public static List<CapturedFile> Read(CaptureContext context)
    {
        var files = new List<CapturedFile>();
        // Descriptors of one description agree in link, offset and flags: only those need to be compared by kcmp.
        var alike = new Dictionary<(string Link, long Position, uint Flags), List<CapturedFile>>();
        foreach (var link in ProcDescriptors.Read(context.Pid))
        {
            var info = FdInfo.Read(context.Pid, link.Fd);
            var key = (link.Target, info.Position, info.StatusFlags);
            if (!alike.TryGetValue(key, out var candidates))
                alike.Add(key, candidates = []);
            var file = candidates.Find(candidate => Kcmp.CompareFiles(context.Pid, candidate.Fd, link.Fd) == 0);
            if (file is null)
            {
                file = Open(context, link, info, (uint)files.Count + 1);
                files.Add(file);
                candidates.Add(file);
            }
            context.Image.Descriptors.Add(new DescriptorEntry { Fd = (uint)link.Fd, CloseOnExec = info.CloseOnExec, OpenFile = file.Id });
        }
        return files;
    }

    private static CapturedFile Open(CaptureContext context, DescriptorLink link, FdInfo info, uint id)
    {
        var handle = Pidfd.GetDescriptor(context.PidFd, link.Fd);
        return new CapturedFile
        {
            Fd = link.Fd,
            Link = link.Target,
            Info = info,
            Handle = handle,
            Status = FileStatus.Of(handle, $"fd {link.Fd} of pid {context.Pid}"),
            Image = new OpenFile { Id = id, StatusFlags = info.StatusFlags, Description = link.Target },
        };
    }
}
