using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.RestorePool.WorkingSets;

/// <summary>What a clone has touched of its snapshot's memory so far, as far as it cost page faults; each list ascending.</summary>
/// <param name="Written">Pages that it shared with its template and has for itself now.</param>
/// <param name="FromFiles">Pages of mapped files that it has in its page tables: a fork hands none of those on.</param>
internal sealed record TouchedPages(IReadOnlyCollection<VirtualAddress> Written, IReadOnlyCollection<VirtualAddress> FromFiles)
{
    private const uint PROT_WRITE = 2;

    /// <summary>
    /// Looks at a clone; null when it ended meanwhile. It stands still while it is looked at, some milliseconds: a worker that has answered is often
    /// about to end, and what it touches then is of no interest.
    /// </summary>
    /// <param name="pidFd">Tells that <paramref name="pid"/> is still its number, and nobody else's by now.</param>
    public static TouchedPages? Of(int pid, SafeFileHandle pidFd, ProcessImage process) =>
        TracerThread.Run($"working set {pid}", () => OfStopped(pid, pidFd, process));

    /// <summary>As <see cref="Of"/>, of a clone whose main thread is stopped already, or has only just started; what its other threads do meanwhile may be missed.</summary>
    public static TouchedPages? OfStoppedOrEnding(int pid, ProcessImage process)
    {
        try
        {
            return Read(pid, process);
        }
        catch (Exception gone) when (gone is ObjectDisposedException or IOException or UnauthorizedAccessException or LinuxException { Errno: Errno.ESRCH or Errno.ENOENT })
        {
            return null;
        }
    }

    public WorkingSet ToWorkingSet(int clones)
    {
        var set = new WorkingSet { Clones = (uint)clones, RecordedUnixMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() };
        set.Written.AddRange(RangesOf(Written));
        set.FilePages.AddRange(RangesOf(FromFiles));
        return set;
    }

    private static IEnumerable<PageRange> RangesOf(IReadOnlyCollection<VirtualAddress> pages) =>
        PageRanges.Of(pages, largestHolePages: 0, ImageLimits.MaxWorkingSetRanges, ulong.MaxValue).Select(range => new PageRange { Start = range.Start.Value, PageCount = range.PageCount });

    private static TouchedPages? OfStopped(int pid, SafeFileHandle pidFd, ProcessImage process)
    {
        try
        {
            if (Poll.IsReadable(pidFd, TimeSpan.Zero))
                return null;
            using var stopped = StoppedProcess.Stop(pid);
            if (Poll.IsReadable(pidFd, TimeSpan.Zero))
                return null;
            return Read(pid, process);
        }
        catch (Exception gone) when (gone is TracingException or ObjectDisposedException or IOException or UnauthorizedAccessException or LinuxException { Errno: Errno.ESRCH or Errno.ENOENT })
        {
            return null;
        }
    }

    private static TouchedPages? Read(int pid, ProcessImage process)
    {
        using var scan = PagemapScan.Open(pid);
        using var map = Pagemap.Open(pid);
        var written = new List<VirtualAddress>();
        var fromFiles = new List<VirtualAddress>();
        foreach (var mapping in process.Mappings)
        {
            var range = new AddressRange(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End));
            if (MayBeWritten(mapping))
            {
                foreach (var present in scan.PrivatePages(range))
                {
                    if (!map.TryAddExclusivePages(present, written))
                        return null;
                }
            }
            else if (mapping.Kind is MappingKind.PrivateFile or MappingKind.SharedFile)
            {
                fromFiles.AddRange(scan.FilePages(range).SelectMany(PagesOf));
            }
        }
        return new TouchedPages(written, fromFiles);
    }

    private static IEnumerable<VirtualAddress> PagesOf(AddressRange range)
    {
        for (var page = range.Start; page < range.End; page += PageSize.Bytes)
            yield return page;
    }

    private static bool MayBeWritten(Mapping mapping) =>
        mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile && (mapping.Protection & PROT_WRITE) != 0;
}
