// PAGEMAP_SCAN: ioctl_pagemap_scan(2); uapi linux/fs.h; Linux 6.7. PAGE_IS_GUARD since 6.15.
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Syscalls;

/// <summary>PAGE_IS_* of PAGEMAP_SCAN: what the kernel knows of a page.</summary>
[Flags]
public enum PageCategories : ulong
{
    None = 0,
    WriteProtectAllowed = 1 << 0,
    Written = 1 << 1,

    /// <summary>Belongs to a file or to shared memory.</summary>
    File = 1 << 2,
    Present = 1 << 3,
    Swapped = 1 << 4,

    /// <summary>The one page of zeros.</summary>
    Zero = 1 << 5,
    Huge = 1 << 6,
    SoftDirty = 1 << 7,

    /// <summary>A guard page of MADV_GUARD_INSTALL.</summary>
    Guard = 1 << 8,
}

/// <summary>Finds pages of a process by their state, many times faster than reading <c>/proc/PID/pagemap</c> entry by entry.</summary>
public sealed unsafe class PagemapScan : IDisposable
{
    // _IOWR('f', 16, struct pm_scan_arg)
    internal const uint PAGEMAP_SCAN = 0xC060_6610;
    private const int RegionsPerCall = 1024;

    /// <summary>struct pm_scan_arg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 96)]
    internal struct ScanArgument
    {
        [FieldOffset(0)] public ulong Size;
        [FieldOffset(8)] public ulong Flags;
        [FieldOffset(16)] public ulong Start;
        [FieldOffset(24)] public ulong End;
        [FieldOffset(32)] public ulong WalkEnd;
        [FieldOffset(40)] public ulong Vector;
        [FieldOffset(48)] public ulong VectorLength;
        [FieldOffset(56)] public ulong MaxPages;
        [FieldOffset(64)] public ulong CategoryInverted;
        [FieldOffset(72)] public ulong CategoryMask;
        [FieldOffset(80)] public ulong CategoryAnyOfMask;
        [FieldOffset(88)] public ulong ReturnMask;
    }

    /// <summary>struct page_region.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 24)]
    internal struct PageRegion
    {
        [FieldOffset(0)] public ulong Start;
        [FieldOffset(8)] public ulong End;
        [FieldOffset(16)] public ulong Categories;
    }

    private readonly SafeFileHandle _pagemap;
    private readonly string _path;

    private PagemapScan(SafeFileHandle pagemap, string path)
    {
        _pagemap = pagemap;
        _path = path;
    }

    /// <summary>Opens the page map of a process; needs ptrace access to it.</summary>
    /// <exception cref="LinuxException">ESRCH, ENOENT: the process is gone; EACCES.</exception>
    public static PagemapScan Open(int pid)
    {
        const long O_RDONLY_CLOEXEC = 0x80000;
        var path = $"/proc/{pid}/pagemap";
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Open, (long)text, O_RDONLY_CLOEXEC), "open", path);
            return new PagemapScan(new SafeFileHandle((nint)fd, ownsHandle: true), path);
        }
    }

    /// <summary>
    /// The pages of <paramref name="range"/> that exist and belong to the process alone: in memory or swapped, of no file, not the page of zeros,
    /// no guard. Ascending, adjacent pages joined.
    /// </summary>
    /// <exception cref="LinuxException">ENOTTY: the kernel is older than 6.7.</exception>
    public List<AddressRange> PrivatePages(AddressRange range) =>
        Scan(range, PageCategories.Present | PageCategories.Swapped, required: 0, excluded: PageCategories.File | PageCategories.Zero | KnownGuard);

    /// <summary>The pages of <paramref name="range"/>, a mapping of shared memory, that are mapped or swapped in this process.</summary>
    /// <exception cref="LinuxException">ENOTTY: the kernel is older than 6.7.</exception>
    public List<AddressRange> ExistingPages(AddressRange range) =>
        Scan(range, PageCategories.Present | PageCategories.Swapped, required: 0, excluded: KnownGuard);

    /// <summary>The pages of files in <paramref name="range"/> that are in the page tables of this process; shared memory counts as a file.</summary>
    /// <exception cref="LinuxException">ENOTTY: the kernel is older than 6.7.</exception>
    public List<AddressRange> FilePages(AddressRange range) =>
        Scan(range, anyOf: 0, required: PageCategories.Present | PageCategories.File, excluded: 0);

    /// <summary>The guard pages that MADV_GUARD_INSTALL left in <paramref name="range"/>; none on kernels before 6.15, which cannot tell.</summary>
    /// <exception cref="LinuxException">ENOTTY: the kernel is older than 6.7.</exception>
    public List<AddressRange> GuardPages(AddressRange range) =>
        KnownGuard == 0 ? [] : Scan(range, anyOf: 0, required: PageCategories.Guard, excluded: 0);

    /// <summary>Pages with all of <paramref name="required"/>, none of <paramref name="excluded"/> and, unless it is empty, one of <paramref name="anyOf"/>.</summary>
    /// <exception cref="LinuxException">ENOTTY: the kernel is older than 6.7; EINVAL: it does not know a category.</exception>
    public List<AddressRange> Scan(AddressRange range, PageCategories anyOf, PageCategories required, PageCategories excluded)
    {
        var found = new List<AddressRange>();
        if (range.IsEmpty)
            return found;
        var regions = stackalloc PageRegion[RegionsPerCall];
        var argument = new ScanArgument
        {
            Size = (ulong)sizeof(ScanArgument),
            Start = range.Start.Value,
            End = range.End.Value,
            Vector = (ulong)regions,
            VectorLength = RegionsPerCall,
            CategoryInverted = (ulong)excluded,
            CategoryMask = (ulong)(required | excluded),
            CategoryAnyOfMask = (ulong)anyOf,
        };
        using var borrowed = new BorrowedDescriptor(_pagemap);
        while (argument.Start < argument.End)
        {
            argument.WalkEnd = 0;
            var count = RawSyscall.Call(SyscallNumber.Ioctl, borrowed.Number, PAGEMAP_SCAN, (long)&argument);
            if (count == -(long)Errno.EINTR)
                continue;
            if (count < 0)
                throw new LinuxException("PAGEMAP_SCAN", RawSyscall.ErrnoOf(count), Explain(range, RawSyscall.ErrnoOf(count)));
            for (var i = 0; i < count; i++)
                Append(found, new AddressRange(new VirtualAddress(regions[i].Start), new VirtualAddress(regions[i].End)));
            // The kernel gathers 512 regions at a time and, when its last round reaches the end of the range, leaves walk_end where the round before
            // stopped (seen on 6.18): going on from there would report regions twice.
            argument.Start = count > 0 ? Math.Max(argument.WalkEnd, regions[count - 1].End) : argument.WalkEnd;
        }
        return found;
    }

    public void Dispose() => _pagemap.Dispose();

    /// <summary>Guard when this kernel can report it, else nothing; asked once.</summary>
    private static PageCategories KnownGuard => GuardProbe.Value;

    private static readonly Lazy<PageCategories> GuardProbe = new(() =>
    {
        using var scan = Open(Environment.ProcessId);
        try
        {
            scan.Scan(AddressRange.FromLength(new VirtualAddress(PageSize.HugeBytes), PageSize.Bytes), 0, PageCategories.Guard, 0);
            return PageCategories.Guard;
        }
        catch (LinuxException refused) when (refused.Errno == Errno.EINVAL)
        {
            return PageCategories.None;
        }
    });

    private static void Append(List<AddressRange> found, AddressRange next)
    {
        if (found.Count > 0 && found[^1].End == next.Start)
            found[^1] = new AddressRange(found[^1].Start, next.End);
        else
            found.Add(next);
    }

    private string Explain(AddressRange range, Errno errno) =>
        errno == Errno.ENOTTY ? $"{_path} {range}: this kernel is older than 6.7 and cannot list pages; run on a newer one" : $"{_path} {range}";
}
