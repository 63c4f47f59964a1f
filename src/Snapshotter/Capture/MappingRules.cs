using System.Globalization;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Decides what one mapping is and how it comes along, or refuses it.</summary>
internal sealed class MappingRules(CaptureContext context, SmapsEntry entry)
{
    private const string MemfdPrefix = "/memfd:";

    private string Subject => string.Create(CultureInfo.InvariantCulture, $"mapping {entry.Range} {entry.Path}").TrimEnd();

    /// <summary>Null when it was refused.</summary>
    public Mapping? Describe()
    {
        if (RefusedByFlags())
            return null;
        var mapping = new Mapping
        {
            Start = entry.Range.Start.Value,
            End = entry.Range.End.Value,
            Protection = (uint)entry.Protection,
            VmFlags = { entry.VmFlags },
            Label = entry.Path,
            ResidentPages = entry.RssKib / 4,
        };
        if (!entry.HasFile)
        {
            mapping.Kind = MappingKind.PrivateAnonymous;
            return mapping;
        }
        mapping.FileOffset = entry.OffsetBytes;
        return entry.IsShared ? DescribeShared(mapping) : DescribePrivate(mapping);
    }

    private bool RefusedByFlags()
    {
        var reason = entry switch
        {
            _ when entry.HasVmFlag("um") || entry.HasVmFlag("uw") || entry.HasVmFlag("ui") => ("it is registered with userfaultfd", "Unregister it before the worker is ready."),
            _ when entry.HasVmFlag("ht") => ("it consists of hugetlbfs pages", "Use transparent huge pages (madvise MADV_HUGEPAGE) instead."),
            _ when entry.HasVmFlag("ss") => ("it is a shadow stack", "Start the worker without user shadow stacks (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off)."),
            _ when entry.HasVmFlag("sl") => ("it is sealed with mseal(2)", "Start the worker without memory sealing."),
            _ when entry.ProtectionKey != 0 => ("it has a memory protection key", "Release the key before the worker is ready."),
            _ when entry.HasVmFlag("io") || entry.HasVmFlag("pf") => ("it maps a device", "Close the device before the worker is ready."),
            _ when entry.Path.StartsWith("/SYSV", StringComparison.Ordinal) => ("it is System V shared memory", "Detach it before the worker is ready, or use memfd_create(2)."),
            _ when entry.Path.Contains("[io_uring]", StringComparison.Ordinal) => ("it is a ring of io_uring", "Start the worker without io_uring (UV_USE_IO_URING=0 for Node)."),
            _ when entry.Path.StartsWith("/[aio]", StringComparison.Ordinal) => ("it is a ring of Linux AIO", "Destroy the AIO context before the worker is ready."),
            _ => ((string What, string Cure)?)null,
        };
        if (reason is { } refused)
            context.Refuse(Subject, refused.What, refused.Cure);
        return reason is not null;
    }

    private Mapping? DescribeShared(Mapping mapping)
    {
        if (IsMemoryObject() || entry.IsDeleted || IsPrivateByNature(entry.Path))
            return AsSharedMemory(mapping, MappingKind.SharedMemory);
        if (entry.HasVmFlag("wr"))
        {
            context.Refuse(Subject, "it is a writable shared mapping of a file on disk, which clones would all write to", "Map it privately, unmap it before the worker is ready, or keep the file under /dev/shm, of which each clone gets its own copy.");
            return null;
        }
        mapping.Kind = MappingKind.SharedFile;
        return WithFile(mapping);
    }

    private Mapping? DescribePrivate(Mapping mapping)
    {
        if (IsMemoryObject() || entry.IsDeleted)
            return AsSharedMemory(mapping, MappingKind.PrivateSharedMemory);
        mapping.Kind = MappingKind.PrivateFile;
        return WithFile(mapping);
    }

    private bool IsMemoryObject() => entry.Path.StartsWith(MemfdPrefix, StringComparison.Ordinal) || entry.Path == "/dev/zero" && entry.IsDeleted;

    /// <summary>Files that belong to one process although they have a name.</summary>
    private static bool IsPrivateByNature(string path) =>
        path.StartsWith("/dev/shm/", StringComparison.Ordinal) || path.StartsWith("/tmp/hsperfdata_", StringComparison.Ordinal);

    private Mapping? AsSharedMemory(Mapping mapping, MappingKind kind)
    {
        var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{context.Pid}/map_files/{entry.Range.Start.Value:x}-{entry.Range.End.Value:x}");
        if (FileStatus.At(path, followLast: true, out var status) is not Errno.None and var errno)
        {
            context.Refuse(Subject, $"its object cannot be opened ({errno})", "Run with CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.");
            return null;
        }
        if (!status.IsRegular)
        {
            context.Refuse(Subject, "it maps a device", "Close the device before the worker is ready.");
            return null;
        }
        mapping.Kind = kind;
        mapping.SharedMemory = context.SharedMemory.GetOrAdd(
            new ObjectIdentity(status.Device, status.Inode), path, () => new SharedMemory { Name = ObjectName(), SizeBytes = status.SizeBytes }).Id;
        return mapping;
    }

    private string ObjectName()
    {
        var name = entry.Path.StartsWith(MemfdPrefix, StringComparison.Ordinal) ? entry.Path[MemfdPrefix.Length..] : Path.GetFileName(entry.Path);
        return name.Length == 0 ? "shared" : name;
    }

    private Mapping? WithFile(Mapping mapping)
    {
        if (FileIdentities.Of(entry.Path) is not { } identity || identity.Device != entry.Device || identity.Inode != entry.Inode)
        {
            context.Refuse(Subject, "its path no longer leads to the mapped file", "Restart the worker so that it maps the present file.");
            return null;
        }
        if ((identity.Mode & 0xf000) != 0x8000)
        {
            context.Refuse(Subject, "it maps a device", "Close the device before the worker is ready.");
            return null;
        }
        mapping.File = context.Files.IndexOf(identity);
        return mapping;
    }
}
