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
    private const ulong PagesPerBlock = PageSize.HugeBytes / PageSize.Bytes;

    /// <summary>A block is worth a huge page when at most one eighth of it would be zeros that the snapshot does not have.</summary>
    private const ulong DensePages = PagesPerBlock * 7 / 8;

    public static void Prepare(int pid, SafeFileHandle pidFd, Mapping mapping)
    {
        if (mapping.Has("nh"))
            return;
        Span<byte> zero = stackalloc byte[8];
        zero.Clear();
        foreach (var run in DenseRuns(mapping))
        {
            for (var block = run.Start; block < run.End; block += PageSize.HugeBytes)
                ProcessVm.Write(pid, block, zero);
            // Not fatal: without a free huge page the block stays in small pages, and clones only start a little slower.
            if (ProcessMadvise.Collapse(pidFd, run) == Errno.ESRCH)
                return;
        }
    }

    /// <summary>Maximal runs of adjacent dense blocks.</summary>
    internal static IEnumerable<AddressRange> DenseRuns(Mapping mapping)
    {
        var first = new VirtualAddress(mapping.Start).AlignUp(PageSize.HugeBytes);
        var end = new VirtualAddress(mapping.End).AlignDown(PageSize.HugeBytes);
        if (first >= end)
            yield break;
        var counts = CountPages(mapping, first, (int)((end - first) / PageSize.HugeBytes));
        for (var i = 0; i < counts.Length; i++)
        {
            if (counts[i] < DensePages)
                continue;
            var start = i;
            while (i < counts.Length && counts[i] >= DensePages)
                i++;
            yield return new AddressRange(first + ((ulong)start * PageSize.HugeBytes), first + ((ulong)i * PageSize.HugeBytes));
        }
    }

    private static ulong[] CountPages(Mapping mapping, VirtualAddress first, int blocks)
    {
        var counts = new ulong[blocks];
        foreach (var extent in mapping.Extents)
        {
            var page = mapping.Start + (extent.PageIndex * PageSize.Bytes);
            var end = page + (extent.PageCount * PageSize.Bytes);
            while (page < end)
            {
                var blockEnd = Math.Min(end, (page & ~(PageSize.HugeBytes - 1)) + PageSize.HugeBytes);
                if (page >= first.Value && (page - first.Value) / PageSize.HugeBytes is var block && block < (ulong)blocks)
                    counts[block] += (blockEnd - page) / PageSize.Bytes;
                page = blockEnd;
            }
        }
        return counts;
    }
}
