using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Templates;

/// <summary>
/// Backs the dense 2 MiB blocks of a template with huge pages before they are filled: a fork then copies one page-table entry instead of 512,
/// and filling takes one fault instead of 512. A clone that writes into such a block splits its mapping and copies 4 KiB, as it would anyway.
/// </summary>
/// <remarks>
/// MADV_COLLAPSE (Linux 6.1) works whatever <c>transparent_hugepage/enabled</c> says, leaves no flag on the mapping, and costs little on a block of
/// which one page exists; collapsing a block that is full already means copying it.
/// </remarks>
internal static class HugePages
{
    /// <summary>A block is worth a huge page when at most one eighth of it would be zeros that the snapshot does not have.</summary>
    private const uint DensePages = PageDensity.PagesPerBlock * 7 / 8;

    /// <summary>Backs the dense blocks of a mapping that is built in its place.</summary>
    public static void Prepare(int pid, SafeFileHandle pidFd, Mapping mapping)
    {
        if (mapping.Has(VmFlags.NoHugePages))
            return;
        var start = new VirtualAddress(mapping.Start);
        var density = new PageDensity(new AddressRange(start, new VirtualAddress(mapping.End)));
        foreach (var extent in mapping.Extents)
            density.Add(start + (extent.PageIndex * PageSize.Bytes), extent.PageCount);
        Prepare(pid, pidFd, density.Runs(DensePages));
    }

    /// <param name="runs">Whole blocks of 2 MiB, each run within one mapping.</param>
    public static void Prepare(int pid, SafeFileHandle pidFd, IEnumerable<AddressRange> runs)
    {
        Span<byte> zero = stackalloc byte[8];
        zero.Clear();
        foreach (var run in runs)
        {
            for (var block = run.Start; block < run.End; block += PageSize.HugeBytes)
                ProcessVm.Write(pid, block, zero);
            // Not fatal: without a free huge page the block stays in small pages, and clones only start a little slower.
            if (ProcessMadvise.Collapse(pidFd, run) == Errno.ESRCH)
                return;
        }
    }
}
