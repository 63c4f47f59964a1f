using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>Where the contents of memory objects lie in the template, to be written into each clone's own: extent after extent, page aligned.</summary>
internal sealed class ContentsPlan
{
    private readonly Dictionary<(uint Memory, int Extent), ulong> _ofMemory = [];
    private readonly Dictionary<(ulong MappingStart, int Extent), ulong> _ofMapping = [];
    private VirtualAddress _base;

    public ContentsPlan(Manifest manifest, ProcessImage process)
    {
        foreach (var memory in manifest.SharedMemory)
        {
            for (var i = 0; i < memory.Extents.Count; i++)
                _ofMemory.Add((memory.Id, i), Add(memory.Extents[i]));
        }
        foreach (var mapping in process.Mappings.Where(mapping => mapping.Kind == MappingKind.PrivateSharedMemory))
        {
            for (var i = 0; i < mapping.Extents.Count; i++)
                _ofMapping.Add((mapping.Start, i), Add(mapping.Extents[i]));
        }
    }

    /// <summary>All pieces in the order of their offsets.</summary>
    public List<(ulong Offset, PageExtent Extent)> Pieces { get; } = [];

    public ulong SizeBytes { get; private set; }

    /// <summary>Fixes the base once the region plan knows it.</summary>
    public void Place(AddressRange contents) => _base = contents.Start;

    public VirtualAddress OfSharedMemory(uint id, int extent) => _base + _ofMemory[(id, extent)];

    public VirtualAddress OfMapping(Mapping mapping, int extent) => _base + _ofMapping[(mapping.Start, extent)];

    private ulong Add(PageExtent extent)
    {
        var offset = SizeBytes;
        Pieces.Add((offset, extent));
        SizeBytes += extent.PageCount * PageSize.Bytes;
        return offset;
    }
}
