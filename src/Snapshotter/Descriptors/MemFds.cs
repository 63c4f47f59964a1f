using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>memfd_create(2): the object goes to the shared memory of the image, where mappings of it meet it; here are its descriptors.</summary>
internal static class MemFds
{
    private const string Prefix = "/memfd:";
    private const string Deleted = " (deleted)";

    public static void Capture(CaptureContext context, CapturedFile file)
    {
        if (file.Status.BlockSizeBytes != PageSize.Bytes)
        {
            context.Refuse(file.Subject, "a memory file of huge pages", "Create it without MFD_HUGETLB.");
            return;
        }
        var seals = FileControl.GetSeals(file.Handle, file.Subject);
        var memory = context.SharedMemory.GetOrAdd(file.Identity, $"/proc/{context.Pid}/fd/{file.Fd}", () => new SharedMemory
        {
            Name = NameOf(file.Link),
            SizeBytes = file.Status.SizeBytes,
        });
        // Whoever met the object first may have seen only a mapping, which does not tell the seals.
        memory.Seals = seals;
        file.Image.MemFd = new MemFd { SharedMemory = memory.Id, OffsetBytes = (ulong)file.Info.Position };
    }

    private static string NameOf(string link) =>
        link.EndsWith(Deleted, StringComparison.Ordinal) ? link[Prefix.Length..^Deleted.Length] : link[Prefix.Length..];
}
