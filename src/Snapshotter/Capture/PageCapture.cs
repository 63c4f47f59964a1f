using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Reads page contents of a stopped process into an image, many ranges per system call; pages that the parent of a layer has are taken from there.</summary>
/// <param name="unchanged">Null for an image that has no parent.</param>
internal sealed class PageCapture(int pid, TargetMemory memory, IPageSink sink, UnchangedPages? unchanged)
{
    private const int BufferBytes = 4 << 20;
    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(BufferBytes);
    private readonly List<(Mapping Mapping, PagePart Part)> _batch = [];
    private readonly List<AddressRange> _ranges = [];
    private ulong _batchBytes;

    /// <summary>Bytes of pages that were taken from the parent.</summary>
    public ulong UnchangedBytes { get; private set; }

    /// <summary>Pages of the process itself; fills the extents of the mappings.</summary>
    public void Capture(IEnumerable<(Mapping Mapping, List<AddressRange> OwnPages)> contents)
    {
        foreach (var (mapping, pages) in contents)
        {
            foreach (var part in pages.SelectMany(range => unchanged?.Sort(mapping, range) ?? [new PagePart(range, PageOrigin.Process, 0)]))
            {
                if (part.Origin == PageOrigin.Process)
                    Add(mapping, part.Range);
                else if (part.Origin == PageOrigin.Parent)
                    _batch.Add((mapping, part)); // In its turn: the extents of a mapping ascend.
            }
        }

        Flush();
    }

    /// <summary>Contents of memory objects; fills their extents.</summary>
    public void Capture(IEnumerable<(SharedMemory Object, string ReadablePath)> sources)
    {
        foreach (var (shared, path) in sources)
        {
            using var file = OpenPath.ReadOnly(path); // a JVM keeps hsperfdata locked
            foreach (var (offset, length) in Seek.DataExtents(file, shared.SizeBytes, path))
                CaptureExtent(file, shared, offset, length);
        }
    }

    private void CaptureExtent(Microsoft.Win32.SafeHandles.SafeFileHandle file, SharedMemory shared, ulong offset, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            var piece = _buffer.AsSpan(0, (int)Math.Min(BufferBytes, length - done));
            piece.Clear(); // what lies behind the end of the file reads as zeros
            for (var filled = 0; filled < piece.Length;)
            {
                var count = RandomAccess.Read(file, piece[filled..], (long)(offset + done) + filled);
                if (count == 0)
                    break;
                filled += count;
            }

            sink.Append((offset + done) / PageSize.Bytes, piece, shared.Extents);
            done += (ulong)piece.Length;
        }
    }

    private void Add(Mapping mapping, AddressRange range)
    {
        while (!range.IsEmpty)
        {
            if (_batchBytes == BufferBytes || _ranges.Count == ProcessVm.MaximumRanges)
                Flush();
            var part = AddressRange.FromLength(range.Start, Math.Min(range.LengthBytes, BufferBytes - _batchBytes));
            _batch.Add((mapping, new PagePart(part, PageOrigin.Process, 0)));
            _ranges.Add(part);
            _batchBytes += part.LengthBytes;
            range = new AddressRange(part.End, range.End);
        }
    }

    private void Flush()
    {
        var buffer = _buffer.AsSpan(0, (int)_batchBytes);
        var read = 0;
        if (_ranges.Count > 0 && ProcessVm.ReadMany(pid, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_ranges), buffer, out read) is not (Errno.None or Errno.EFAULT) and var errno)
            throw new LinuxException("process_vm_readv", errno, $"pid {pid}");
        var at = 0;
        foreach (var (mapping, part) in _batch)
        {
            var range = part.Range;
            if (part.Origin == PageOrigin.Parent)
            {
                sink.AppendFromParent(IndexOf(mapping, range), range.PageCount, part.ParentOffset, mapping.Extents);
                UnchangedBytes += range.LengthBytes;
                continue;
            }
            var length = (int)range.LengthBytes;
            var pages = buffer.Slice(at, length);
            // The call stops at the first range whose protection forbids reading (PROT_NONE); /proc/PID/mem reads those too.
            if (at + length > read)
                memory.Read(range.Start, pages);
            Store(mapping, range, pages);
            at += length;
        }

        _batch.Clear();
        _ranges.Clear();
        _batchBytes = 0;
    }

    private void Store(Mapping mapping, AddressRange range, ReadOnlySpan<byte> pages)
    {
        var index = IndexOf(mapping, range);
        if (mapping.Kind == MappingKind.PrivateAnonymous)
            sink.Append(index, pages, mapping.Extents);
        else
            sink.AppendWithZeros(index, pages, mapping.Extents);
    }

    private static ulong IndexOf(Mapping mapping, AddressRange range) => (range.Start.Value - mapping.Start) / PageSize.Bytes;
}
