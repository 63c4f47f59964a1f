using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Layers;

/// <summary>The steps of a memory program that only a layer has: from the parent's address space, which the fork was born with, to the layer's.</summary>
internal sealed class LayerCompiler(ProgramBuilder builder, LayerPlan layer)
{
    private const int MADV_DONTNEED = 4;

    /// <summary>Takes away what the layer does not have, and makes kept mappings as long as they are there.</summary>
    public void EmitAddressSpace()
    {
        builder.Syscall(SyscallNumber.Munmap, "programs of the parent", layer.ParentRegion.Start, layer.ParentRegion.LengthBytes);
        foreach (var range in layer.Unmapped)
            builder.Syscall(SyscallNumber.Munmap, $"mapping {range} of the parent", range.Start, range.LengthBytes);
        foreach (var range in layer.Grown)
            EmitGrowth(range);
        foreach (var range in layer.Dropped)
            builder.Syscall(SyscallNumber.Madvise, $"pages {range} of the parent", range.Start, range.LengthBytes, MADV_DONTNEED);
    }

    /// <summary>Once the contents are written: code of the parent may have become data of the layer, and the other way round.</summary>
    public void EmitProtections()
    {
        foreach (var (range, protection) in layer.Protected)
            builder.Syscall(SyscallNumber.Mprotect, string.Create(CultureInfo.InvariantCulture, $"mapping {range}"), range.Start, range.LengthBytes, protection);
    }

    /// <summary>mremap(2) in place, of the last page below the range: it makes the mapping longer that ends there.</summary>
    private void EmitGrowth(AddressRange range)
    {
        var last = range.Start - PageSize.Bytes;
        builder.Syscall(SyscallNumber.Mremap, $"growth {range}", last, PageSize.Bytes, PageSize.Bytes + range.LengthBytes, 0).ExpectValue((long)last.Value);
    }
}
