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
    private const ulong OfFile = 1UL << 61;
    private const ulong MappedOnce = 1UL << 56;
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

    public void Dispose() => _file.Dispose();
}
