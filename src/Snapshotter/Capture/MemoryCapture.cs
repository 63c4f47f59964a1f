using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>
/// Captures the mappings of the stopped process, and the contents of the pages that are its own: file pages that were never written and pages
/// of zeros are not stored.
/// </summary>
internal sealed class MemoryCapture(CaptureContext context, TargetMemory memory, IPageSink pages)
{
    private const int BufferBytes = 4 << 20;
    private readonly byte[] _buffer = new byte[BufferBytes];
    private readonly List<(Mapping Mapping, AddressRange Range)> _withPages = [];

    /// <summary>Resident bytes of all mappings that are captured.</summary>
    public ulong ResidentBytes { get; private set; }

    /// <summary>Lists the mappings and refuses what cannot come along; stores nothing yet.</summary>
    public void CaptureMappings()
    {
        foreach (var entry in Smaps.Read(context.Pid))
        {
            if (entry.Path == "[vsyscall]" || IsOfEarlierRestore(entry))
                continue;
            ResidentBytes += entry.RssKib * 1024;
            if (entry.Path is "[vvar]" or "[vvar_vclock]" or "[vdso]")
                AddVdso(entry);
            else if (new MappingRules(context, entry).Describe() is { } mapping)
                Add(mapping, entry);
        }
    }

    /// <summary>Stores the pages; called only when nothing was refused.</summary>
    public void CapturePages()
    {
        using var scan = PagemapScan.Open(context.Pid);
        foreach (var (mapping, range) in _withPages)
        {
            foreach (var run in scan.PrivatePages(range))
                Store(run, range.Start, mapping.Extents);
        }
        foreach (var (shared, path) in context.SharedMemory.Sources)
            StoreSharedMemory(shared, path);
    }

    private void Add(Mapping mapping, SmapsEntry entry)
    {
        context.Image.Mappings.Add(mapping);
        if (mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile or MappingKind.PrivateSharedMemory)
            _withPages.Add((mapping, entry.Range));
    }

    /// <summary>[vvar], [vvar_vclock] and [vdso] lie side by side and are mapped by one call.</summary>
    private void AddVdso(SmapsEntry entry)
    {
        var last = context.Image.Mappings.LastOrDefault();
        if (last is { Kind: MappingKind.Vdso } && last.End == entry.Range.Start.Value)
        {
            last.End = entry.Range.End.Value;
            return;
        }
        context.Image.Mappings.Add(new Mapping
        {
            Start = entry.Range.Start.Value,
            End = entry.Range.End.Value,
            Protection = (uint)(MemoryProtection.Read | MemoryProtection.Execute),
            Kind = MappingKind.Vdso,
            Label = "[vdso]",
        });
    }

    /// <summary>In a clone, the stub and the signal frames by which it was started are still mapped; they are not the application's.</summary>
    private bool IsOfEarlierRestore(SmapsEntry entry)
    {
        if (entry.HasFile || entry.Path.Length > 0 || entry.IsShared || entry.Protection is not ((MemoryProtection.Read | MemoryProtection.Execute) or MemoryProtection.Read))
            return false;
        Span<byte> start = stackalloc byte[16];
        return ProcessVm.Read(context.Pid, entry.Range.Start, start, out var length) == Errno.None && length == start.Length
            && (start.SequenceEqual(RestoreLeftovers.StubMagic) || start.SequenceEqual(RestoreLeftovers.FrameMagic));
    }

    private void Store(AddressRange run, VirtualAddress mappingStart, IList<PageExtent> extents)
    {
        for (var address = run.Start; address < run.End;)
        {
            var piece = _buffer.AsSpan(0, (int)Math.Min(BufferBytes, run.End - address));
            // Pages without read permission are refused to process_vm_readv, in part or whole; /proc/PID/mem reads them all the same.
            if (ProcessVm.Read(context.Pid, address, piece, out var length) != Errno.None || length != piece.Length)
                memory.Read(address, piece);
            pages.Append((address - mappingStart) / PageSize.Bytes, piece, extents);
            address += (ulong)piece.Length;
        }
    }

    private void StoreSharedMemory(SharedMemory shared, string path)
    {
        var subject = string.Create(CultureInfo.InvariantCulture, $"shared memory {shared.Name} ({path})");
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        foreach (var (start, end) in SeekData.Ranges(file, shared.SizeBytes, subject))
        {
            for (var offset = start & ~(PageSize.Bytes - 1); offset < end;)
            {
                var wanted = (int)Math.Min(BufferBytes, ((end - offset) + PageSize.Bytes - 1) & ~(PageSize.Bytes - 1));
                var piece = _buffer.AsSpan(0, wanted);
                piece.Clear(); // Behind the end of the file the last page reads as zeros.
                ReadFully(file, piece, (long)offset);
                pages.Append(offset / PageSize.Bytes, piece, shared.Extents);
                offset += (ulong)wanted;
            }
        }
    }

    private static void ReadFully(Microsoft.Win32.SafeHandles.SafeFileHandle file, Span<byte> destination, long offset)
    {
        for (var done = 0; done < destination.Length;)
        {
            var count = RandomAccess.Read(file, destination[done..], offset + done);
            if (count == 0)
                return;
            done += count;
        }
    }
}

/// <summary>By what a freeze knows the memory that an earlier restore left mapped.</summary>
internal static class RestoreLeftovers
{
    public static ReadOnlySpan<byte> StubMagic => "SNAPSHOTS-STUB-1"u8;

    public static ReadOnlySpan<byte> FrameMagic => "SNAPSHOTS-FRAME1"u8;
}
