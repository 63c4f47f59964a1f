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

    /// <summary>Everything.</summary>
    public void Load(ProcessImage process, StagingPlan staging, ContentsPlan contents, AddressRange contentsRange)
    {
        HugePages.Prepare(pid, pidFd, staging.HugeBlocks(process));
        foreach (var mapping in process.Mappings.Where(MemoryCompiler.IsFilledThroughPages))
        {
            // MADV_WIPEONFORK memory is zeros in every clone; the template, which never runs, has no use for it either.
            if (mapping.Has(VmFlags.WipeOnFork))
                continue;
            var built = staging.AddressOf(mapping);
            if (built is null)
                HugePages.Prepare(pid, pidFd, mapping);
            foreach (var extent in mapping.Extents)
                LoadExtent(extent, (built ?? new VirtualAddress(mapping.Start)) + (extent.PageIndex * PageSize.Bytes), (address, bytes) => ProcessVm.Write(pid, address, bytes));
        }
        LoadFilePages(process);
        LoadContents(contents, contentsRange);
    }

    /// <summary>What is to be written into clones' own memory objects.</summary>
    public void LoadContents(ContentsPlan contents, AddressRange contentsRange)
    {
        foreach (var (offset, extent) in contents.Pieces)
            LoadExtent(extent, contentsRange.Start + offset, (address, bytes) => ProcessVm.Write(pid, address, bytes));
    }

    private void LoadFilePages(ProcessImage process)
    {
        using var memory = ProcessMemoryWrite.Open(pid);
        foreach (var mapping in process.Mappings.Where(mapping => !MemoryCompiler.IsFilledThroughPages(mapping)))
        {
            if (mapping.Kind == MappingKind.PrivateSharedMemory || mapping.Has(VmFlags.WipeOnFork))
                continue;
            foreach (var extent in mapping.Extents)
                LoadExtent(extent, new VirtualAddress(mapping.Start) + (extent.PageIndex * PageSize.Bytes), (address, bytes) => ProcessMemoryWrite.Write(memory, pid, address, bytes));
        }
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
