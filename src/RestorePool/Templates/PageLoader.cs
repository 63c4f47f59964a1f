using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Templates;

/// <summary>Writes page contents into a template that waits for them.</summary>
/// <remarks>
/// Anonymous memory goes through process_vm_writev(2). Private pages of file mappings go through /proc/PID/mem, which writes to read-only
/// pages too (a copy is made, as a debugger's breakpoint would) so that the mapping never has to be writable.
/// </remarks>
internal sealed class PageLoader(IPageReader pages, int pid, SafeFileHandle pidFd)
{
    private const int BufferBytes = 4 << 20;
    private readonly byte[] _buffer = new byte[BufferBytes];

    /// <summary>Bytes of pages written.</summary>
    public long BytesLoaded { get; private set; }

    public void Load(ProcessImage process, StagingPlan staging, ContentsPlan contents, AddressRange contentsRange)
    {
        HugePages.Prepare(pid, pidFd, staging.HugeBlocks(process));
        using var memory = ProcessMemoryWrite.Open(pid);
        foreach (var mapping in process.Mappings)
        {
            // MADV_WIPEONFORK memory is zeros in every clone; the template, which never runs, has no use for it either.
            if (mapping.Extents.Count == 0 || mapping.Kind == MappingKind.PrivateSharedMemory || mapping.Has(VmFlags.WipeOnFork))
                continue;
            var start = new VirtualAddress(mapping.Start);
            if (MemoryCompiler.IsFilledThroughPages(mapping))
            {
                var built = staging.AddressOf(mapping);
                if (built is null)
                    HugePages.Prepare(pid, pidFd, mapping);
                foreach (var extent in mapping.Extents)
                    LoadExtent(extent, (built ?? start) + (extent.PageIndex * PageSize.Bytes), (address, bytes) => ProcessVm.Write(pid, address, bytes));
            }
            else
            {
                foreach (var extent in mapping.Extents)
                    LoadExtent(extent, start + (extent.PageIndex * PageSize.Bytes), (address, bytes) => ProcessMemoryWrite.Write(memory, pid, address, bytes));
            }
        }
        foreach (var (offset, extent) in contents.Pieces)
            LoadExtent(extent, contentsRange.Start + offset, (address, bytes) => ProcessVm.Write(pid, address, bytes));
    }

    private void LoadExtent(PageExtent extent, VirtualAddress destination, Write write)
    {
        var length = extent.PageCount * PageSize.Bytes;
        for (ulong done = 0; done < length;)
        {
            var piece = _buffer.AsSpan(0, (int)Math.Min(BufferBytes, length - done));
            pages.Read(extent.BlobOffset + done, piece);
            write(destination + done, piece);
            done += (ulong)piece.Length;
        }
        BytesLoaded += (long)length;
    }

    private delegate void Write(VirtualAddress address, ReadOnlySpan<byte> bytes);
}
