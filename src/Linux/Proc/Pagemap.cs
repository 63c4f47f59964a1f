// /proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst; bit 56 since Linux 4.2.
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Proc;

/// <summary>The page map of a process, a word for each page: for what PAGEMAP_SCAN cannot tell.</summary>
public sealed class Pagemap : IDisposable
{
    private const ulong Present = 1UL << 63;
    private const ulong Swapped = 1UL << 62;
    private const ulong OfFile = 1UL << 61;
    private const ulong MappedOnce = 1UL << 56;
    /// <summary>Page frame number, or type and offset of the swap slot; zero for who lacks CAP_SYS_ADMIN.</summary>
    private const ulong Place = (1UL << 55) - 1;
    private const int ChunkPages = 16 * 1024;

    private readonly SafeFileHandle _file;
    private readonly ulong[] _words = new ulong[ChunkPages];

    private Pagemap(SafeFileHandle file) => _file = file;

    /// <summary>Opens the page map of a process; needs ptrace access to it.</summary>
    /// <exception cref="IOException">The process is gone, or may not be looked at.</exception>
    public static Pagemap Open(int pid) => new(File.OpenHandle(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/pagemap")));

    /// <summary>Adds the pages of <paramref name="range"/> that are anonymous and mapped by this process alone: those that a fork has made its own by writing to them.</summary>
    /// <returns>False when the process has ended meanwhile: its pages are not known.</returns>
    public bool TryAddExclusivePages(AddressRange range, ICollection<VirtualAddress> pages)
    {
        for (var page = range.Start; page < range.End;)
        {
            var wanted = (int)Math.Min(ChunkPages, new AddressRange(page, range.End).PageCount);
            var words = _words.AsSpan(0, wanted);
            if (RandomAccess.Read(_file, MemoryMarshal.AsBytes(words), (long)(page.Value / PageSize.Bytes * sizeof(ulong))) != wanted * sizeof(ulong))
                return false;
            for (var i = 0; i < wanted; i++, page += PageSize.Bytes)
            {
                if ((words[i] & (Present | OfFile | MappedOnce)) == (Present | MappedOnce))
                    pages.Add(page);
            }
        }
        return true;
    }

    /// <summary>
    /// Goes through <paramref name="range"/> of two processes: where both have one and the same anonymous page, in memory or in swap, and so the same
    /// contents as long as neither runs. Needs CAP_SYS_ADMIN; without it no page is the same. A page that the kernel moves meanwhile may be told apart
    /// from itself. It is never taken for another: a page that both have is mapped more than once, and that is asked of it as well.
    /// </summary>
    /// <param name="one">The one that may have written since they shared everything: only of its pages it is asked whether they are mapped more than
    /// once. Of one that maps a huge page as a whole the kernel tells the answer of its first page for all (seen on 6.18).</param>
    /// <param name="other">The one that is as it was.</param>
    /// <param name="range">Whole pages.</param>
    /// <returns>The whole range in order, in parts that are as long as possible.</returns>
    public static IEnumerable<(AddressRange Range, bool IsSame)> Compare(Pagemap one, Pagemap other, AddressRange range)
    {
        var start = range.Start;
        var wasSame = false;
        for (var page = range.Start; page < range.End;)
        {
            var wanted = (int)Math.Min(ChunkPages, new AddressRange(page, range.End).PageCount);
            one.ReadOrClear(page, wanted);
            other.ReadOrClear(page, wanted);
            for (var i = 0; i < wanted; i++, page += PageSize.Bytes)
            {
                var isSame = IsSame(one._words[i], other._words[i]);
                if (isSame != wasSame && page > start)
                {
                    yield return (new AddressRange(start, page), wasSame);
                    start = page;
                }
                wasSame = isSame;
            }
        }
        if (start < range.End)
            yield return (new AddressRange(start, range.End), wasSame);
    }

    private static bool IsSame(ulong one, ulong other)
    {
        const ulong Compared = Present | Swapped | OfFile | Place;
        return ((one ^ other) & Compared) == 0
            && (one & (Present | Swapped)) != 0 && (one & OfFile) == 0 && (one & Place) != 0
            && (one & MappedOnce) == 0;
    }

    /// <summary>A process that has ended has no pages.</summary>
    private void ReadOrClear(VirtualAddress page, int count)
    {
        var words = _words.AsSpan(0, count);
        var read = RandomAccess.Read(_file, MemoryMarshal.AsBytes(words), (long)(page.Value / PageSize.Bytes * sizeof(ulong)));
        words[(read / sizeof(ulong))..].Clear();
    }

    public void Dispose() => _file.Dispose();
}
