using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>
/// Captures the mappings of a stopped process and sorts them into the kinds of manifest.proto. Contents are read by <see cref="PageCapture"/>
/// once nothing stands against the snapshot.
/// </summary>
/// <remarks>
/// <code>
///   what /proc/PID/smaps shows                        kind                     contents
///   no file, private ([heap], [stack], anonymous)     PRIVATE_ANONYMOUS        pages of our own
///   file, private                                     PRIVATE_FILE             pages of our own; the rest is the file
///   file, shared, not writable                        SHARED_FILE              the file
///   memfd, shared anonymous, deleted file, shared     SHARED_MEMORY            the object's, once
///   memfd or deleted file, private                    PRIVATE_SHARED_MEMORY    the object's, and pages of our own
///   [vvar] [vvar_vclock] [vdso]                       VDSO                     the host's
///   what an earlier restore left (stub and frames)    left out
/// </code>
/// </remarks>
internal sealed class MemoryCapture(CaptureContext context, TargetMemory memory, PagemapScan pagemap)
{
    private const string FramesMagic = "SNAPSHOTS-FRAME1";
    private const string MemfdPrefix = "/memfd:";
    private const string PrivateDirectory = "/dev/shm/";
    private const string JavaCounters = "/tmp/hsperfdata_";

    private static readonly (string Flag, string What, string Cure)[] RefusedFlags =
    [
        ("io", "memory of a device", "Unmap the device before the worker is ready."),
        ("pf", "memory of a device", "Unmap the device before the worker is ready."),
        ("ht", "huge pages of hugetlbfs", "Use transparent huge pages (madvise MADV_HUGEPAGE) instead."),
        ("um", "registered with userfaultfd", "Unregister it before the worker is ready; of a clone whose memory still arrives page by page, freeze a later sibling."),
        ("uw", "registered with userfaultfd", "Unregister it before the worker is ready."),
        ("ui", "registered with userfaultfd", "Unregister it before the worker is ready."),
        ("ss", "a shadow stack", "Run the worker without shadow stacks (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off)."),
        ("sl", "sealed by mseal(2)", "Run the worker without memory sealing (GLIBC_TUNABLES=glibc.rtld.seal=0 where the C library does it)."),
    ];

    /// <summary>The mappings in the image, each with the ranges of pages that are its own.</summary>
    public List<(Mapping Mapping, List<AddressRange> OwnPages)> Contents { get; } = [];

    /// <summary>Resident set of the process, bytes.</summary>
    public ulong ResidentBytes { get; private set; }

    public void Capture()
    {
        foreach (var entry in Smaps.Read(context.Pid))
        {
            if (entry.Range.End.Value > PageSize.UserAddressLimit || IsLeftover(entry))
                continue;
            ResidentBytes += entry.RssKib * 1024;
            if (entry.Path is "[vvar]" or "[vvar_vclock]" or "[vdso]")
                AddVdso(entry);
            else if (!Refuses(entry))
                Add(entry);
        }
    }

    private void AddVdso(SmapsEntry entry)
    {
        var last = context.Image.Mappings.LastOrDefault();
        if (last is { Kind: MappingKind.Vdso } && last.End == entry.Range.Start.Value)
        {
            last.End = entry.Range.End.Value;
            last.Protection |= (uint)entry.Protection;
            last.Label = "[vdso]";
            return;
        }

        context.Image.Mappings.Add(new Mapping { Start = entry.Range.Start.Value, End = entry.Range.End.Value, Protection = (uint)entry.Protection, Kind = MappingKind.Vdso, Label = entry.Path });
    }

    private void Add(SmapsEntry entry)
    {
        var mapping = new Mapping
        {
            Start = entry.Range.Start.Value,
            End = entry.Range.End.Value,
            Protection = (uint)entry.Protection,
            Label = entry.IsDeleted ? entry.Path + " (deleted)" : entry.Path,
            ResidentPages = entry.RssKib * 1024 / PageSize.Bytes,
        };
        mapping.VmFlags.AddRange(entry.VmFlags);
        if (!(entry.HasFile ? SortFile(entry, mapping) : SortAnonymous(mapping)))
            return;
        context.Image.Mappings.Add(mapping);
        if (mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile or MappingKind.PrivateSharedMemory)
            Contents.Add((mapping, pagemap.PrivatePages(entry.Range)));
    }

    private static bool SortAnonymous(Mapping mapping)
    {
        mapping.Kind = MappingKind.PrivateAnonymous;
        return true;
    }

    /// <summary>False when the mapping was refused.</summary>
    private bool SortFile(SmapsEntry entry, Mapping mapping)
    {
        var readable = $"/proc/{context.Pid}/map_files/{entry.Range.Start.Value:x}-{entry.Range.End.Value:x}";
        var errno = FileStatus.At(readable, followLast: true, out var status);
        if (errno != Errno.None)
            return Refuse(entry, $"its file cannot be inspected ({errno})", "Run as root with CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.");
        if (status.IsCharacterDevice)
            return SortDevice(entry, mapping);
        if (!status.IsRegular)
            return Refuse(entry, "a mapping of something that is no file", "Unmap it before the worker is ready.");
        mapping.FileOffset = entry.OffsetBytes;
        if (entry.Path.StartsWith(MemfdPrefix, StringComparison.Ordinal) || status.LinkCount == 0 || entry.IsDeleted)
            return SortMemoryObject(entry, mapping, status, readable);
        return entry.IsShared ? SortSharedFile(entry, mapping, status, readable) : SortNamedFile(entry, mapping, status, MappingKind.PrivateFile);
    }

    /// <summary>A private mapping of /dev/zero is anonymous memory by another name; every other device keeps state that we cannot see.</summary>
    private bool SortDevice(SmapsEntry entry, Mapping mapping) =>
        entry is { Path: "/dev/zero", IsShared: false } ? SortAnonymous(mapping) : Refuse(entry, "memory of a device", "Unmap the device before the worker is ready.");

    private bool SortMemoryObject(SmapsEntry entry, Mapping mapping, FileStatus status, string readable)
    {
        var shared = context.SharedMemory.GetOrAdd(new ObjectIdentity(status.Device, status.Inode), readable, () => new SharedMemory
        {
            Name = NameOf(entry.Path),
            SizeBytes = status.SizeBytes,
        });
        mapping.SharedMemory = shared.Id;
        mapping.Kind = entry.IsShared ? MappingKind.SharedMemory : MappingKind.PrivateSharedMemory;
        return true;
    }

    /// <summary>memfd_create(2) takes 249 bytes and no path.</summary>
    private static string NameOf(string path)
    {
        const int LongestName = 200;
        var name = path.StartsWith(MemfdPrefix, StringComparison.Ordinal) ? path[MemfdPrefix.Length..] : Path.GetFileName(path);
        return name.Length <= LongestName ? name : name[..LongestName];
    }

    private bool SortSharedFile(SmapsEntry entry, Mapping mapping, FileStatus status, string readable)
    {
        if (!entry.Protection.HasFlag(MemoryProtection.Write) && !IsOwnCopy(entry))
            return SortNamedFile(entry, mapping, status, MappingKind.SharedFile);
        if (IsOwnCopy(entry))
            return SortMemoryObject(entry, mapping, status, readable);
        return Refuse(entry, "a writable shared mapping of a file: clones would all write to that one file", "Unmap it before the worker is ready, map it MAP_PRIVATE, or keep it in /dev/shm, of which each clone gets its own copy.");
    }

    private static bool IsOwnCopy(SmapsEntry entry) =>
        entry.Path.StartsWith(PrivateDirectory, StringComparison.Ordinal) || entry.Path.StartsWith(JavaCounters, StringComparison.Ordinal);

    private bool SortNamedFile(SmapsEntry entry, Mapping mapping, FileStatus status, MappingKind kind)
    {
        var errno = FileStatus.At($"/proc/{context.Pid}/root{entry.Path}", followLast: true, out var named);
        if (errno != Errno.None || (named.Device, named.Inode) != (status.Device, status.Inode))
            return Refuse(entry, "another file has taken its path since it was mapped", "Start the worker again, so that it maps the file that is there now.");
        mapping.Kind = kind;
        mapping.File = context.Files.IndexOf(MappedFile.Identity(entry.Path, status));
        return true;
    }

    private bool Refuses(SmapsEntry entry)
    {
        foreach (var (flag, what, cure) in RefusedFlags)
        {
            if (entry.HasVmFlag(flag))
                return !Refuse(entry, what, cure);
        }

        if (entry.ProtectionKey != 0)
            return !Refuse(entry, $"protected by memory key {entry.ProtectionKey}", "Run the worker without protection keys (pkey_mprotect(2)).");
        if (entry.Path.StartsWith("/SYSV", StringComparison.Ordinal))
            return !Refuse(entry, "System V shared memory", "Use memfd_create(2) or shared anonymous memory instead.");
        if (entry.Path.StartsWith("/[aio]", StringComparison.Ordinal))
            return !Refuse(entry, "a ring of asynchronous I/O (io_setup(2))", "Destroy the context with io_destroy(2) before the worker is ready.");
        if (entry.Path.StartsWith("anon_inode:", StringComparison.Ordinal))
            return !Refuse(entry, $"memory of a kernel object ({entry.Path})", "Close it before the worker is ready.");
        if (entry.HasVmFlag("gu") && pagemap.GuardPages(entry.Range).Count > 0)
            return !Refuse(entry, "it has guard pages of MADV_GUARD_INSTALL", "Use mprotect(PROT_NONE) for guard pages.");
        return false;
    }

    /// <returns>Always false, so that a sorter can return it.</returns>
    private bool Refuse(SmapsEntry entry, string what, string cure)
    {
        context.Refuse($"mapping {entry.Range} {entry.Path}".TrimEnd(), what, cure);
        return false;
    }

    /// <summary>The stub's page and the signal frames that an earlier restore of ours left mapped.</summary>
    private bool IsLeftover(SmapsEntry entry)
    {
        if (entry.HasFile || entry.IsShared || entry.Protection.HasFlag(MemoryProtection.Write) || !entry.Protection.HasFlag(MemoryProtection.Read) || entry.Path.Length != 0)
            return false;
        Span<byte> start = stackalloc byte[16];
        memory.Read(entry.Range.Start, start);
        return start.SequenceEqual(Encoding.ASCII.GetBytes(Stub.Magic)) || start.SequenceEqual(Encoding.ASCII.GetBytes(FramesMagic));
    }
}
