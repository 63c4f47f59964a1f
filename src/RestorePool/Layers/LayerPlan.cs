using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Layers;

/// <summary>
/// What is to be done to a fork of the parent's template so that it becomes the template of a layer. Pure: found by comparing two manifests, and where
/// both images have their pages.
/// <code>
///   parent   [ A        ][ B ]      [ C ]   [ D ]
///   layer    [ A  ][ A' ]      [ N ][ C  + ][ D ]
///            kept  kept  unmapped  built  grown  kept: pages written where the images differ, dropped where the layer has none
///            protections where they differ
/// </code>
/// A range is kept when both have the same kind of memory there, of the same part of the same file, with the same flags that cannot be changed.
/// </summary>
internal sealed class LayerPlan
{
    private readonly SnapshotImage _parent;
    private readonly SnapshotImage _layer;
    private readonly LayerPages _pages;
    private readonly List<AddressRange> _kept = [];
    private readonly List<Mapping> _built = [];
    private readonly List<AddressRange> _grown = [];
    private readonly List<Mapping> _grownPieces = [];
    private readonly List<(AddressRange Range, uint Protection)> _protected = [];
    private readonly List<Mapping> _advised = [];

    private LayerPlan(SnapshotImage parent, CompiledPrograms programs, SnapshotImage layer)
    {
        _parent = parent;
        _layer = layer;
        _pages = new LayerPages(parent.Pages, layer.Pages, programs.UnlikeImage);
        ParentRegion = programs.Plan.Whole;
        ParentControlDescriptor = programs.ControlDescriptor;
    }

    public ProcessImage Parent => _parent.Manifest.Processes[0];

    /// <summary>Where the engine's own memory lies in the parent's template; it goes.</summary>
    public AddressRange ParentRegion { get; }

    /// <summary>The number of the control socket when the layer's program begins.</summary>
    public int ParentControlDescriptor { get; }

    /// <summary>Where the engine's own memory for the layer cannot lie.</summary>
    public IEnumerable<AddressRange> Occupied => Parent.Mappings.Select(RangeOf).Append(ParentRegion);

    /// <summary>Ranges of the parent's mappings that the layer does not have, or has otherwise; ascending.</summary>
    public List<AddressRange> Unmapped { get; } = [];

    /// <summary>Mappings, or parts of them, to be made and filled as in a template that is built alone.</summary>
    public ProcessImage Built { get; private set; } = new();

    /// <summary>Ranges by which a kept mapping of anonymous memory goes on upwards.</summary>
    public IReadOnlyList<AddressRange> Grown => _grown;

    /// <summary>The grown ranges as mappings, with their contents.</summary>
    public IReadOnlyList<Mapping> GrownPieces => _grownPieces;

    /// <summary>Pages that the parent has and the layer has not.</summary>
    public IReadOnlyList<AddressRange> Dropped => _pages.Dropped;

    /// <summary>Pages of kept and grown ranges to be written from the layer's image.</summary>
    public IReadOnlyList<StoredPages> Written => _pages.Written;

    /// <summary>Kept ranges whose protection is another now.</summary>
    public IReadOnlyList<(AddressRange Range, uint Protection)> Protected => _protected;

    /// <summary>Kept ranges with advice or a name that the parent's have not.</summary>
    public IReadOnlyList<Mapping> Advised => _advised;

    /// <param name="programs">With which the parent's template was built.</param>
    /// <exception cref="NotLayerableException">The two differ in what a fork cannot change.</exception>
    public static LayerPlan For(SnapshotImage parent, CompiledPrograms programs, SnapshotImage layer)
    {
        var plan = new LayerPlan(parent, programs, layer);
        plan.RequireAlike();
        foreach (var mapping in layer.Manifest.Processes[0].Mappings.Where(IsInTemplate))
            plan.Add(mapping);
        plan.FindUnmapped();
        plan.Built.Mappings.AddRange(plan._built);
        return plan;
    }

    /// <summary>Memory objects are each clone's own; everything else is in the template.</summary>
    public static bool IsInTemplate(Mapping mapping) => mapping.Kind is not (MappingKind.SharedMemory or MappingKind.PrivateSharedMemory);

    public static AddressRange RangeOf(Mapping mapping) => new(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End));

    private void RequireAlike()
    {
        var layer = _layer.Manifest.Processes[0];
        if (!FileOf(_parent, Parent.ExeFile).Equals(FileOf(_layer, layer.ExeFile)))
            throw new NotLayerableException("it runs another program than its parent");
        if (!Parent.Mappings.Where(IsVdso).Select(RangeOf).SequenceEqual(layer.Mappings.Where(IsVdso).Select(RangeOf)))
            throw new NotLayerableException("its vDSO lies elsewhere than its parent's");
        if (Parent.Threads[0].Scheduling?.Affinity is { IsEmpty: false } && layer.Threads[0].Scheduling?.Affinity is not { IsEmpty: false })
            throw new NotLayerableException("it may run on processors on which its parent may not");
    }

    private static bool IsVdso(Mapping mapping) => mapping.Kind == MappingKind.Vdso;

    private static FileIdentity FileOf(SnapshotImage image, uint index) => image.Manifest.Files[(int)index];

    private void Add(Mapping mapping)
    {
        var range = RangeOf(mapping);
        var at = range.Start;
        foreach (var parent in Parent.Mappings.Where(parent => IsInTemplate(parent) && RangeOf(parent).Overlaps(range)))
        {
            if (!IsKept(parent, mapping))
                continue;
            var common = RangeOf(parent).Intersect(range);
            Build(mapping, new AddressRange(at, common.Start));
            Keep(parent, mapping, common);
            at = common.End;
        }
        Build(mapping, new AddressRange(at, range.End));
    }

    /// <summary>Whether what the parent has can become what the layer has.</summary>
    private bool IsKept(Mapping parent, Mapping layer)
    {
        if (parent.Kind != layer.Kind || !SameFlag(VmFlags.NoReserve) || !SameFlag(VmFlags.GrowsDown) || !SameFlag(VmFlags.WipeOnFork))
            return false;
        // A stack is one mapping, from where it has grown to; the few pages of it are soon written.
        if (layer.Has(VmFlags.GrowsDown) && parent.Start != layer.Start)
            return false;
        // Advice can be given, not all of it can be taken back.
        if (VmFlags.AdviceOf(parent).Except(VmFlags.AdviceOf(layer)).Any())
            return false;
        return layer.Kind switch
        {
            MappingKind.PrivateAnonymous or MappingKind.Vdso => true,
            MappingKind.SharedFile when !SameFlag(VmFlags.MayWrite) => false,
            _ => FileOf(_parent, parent.File).Equals(FileOf(_layer, layer.File)) && parent.FileOffset - parent.Start == layer.FileOffset - layer.Start,
        };

        bool SameFlag(string flag) => parent.Has(flag) == layer.Has(flag);
    }

    private void Keep(Mapping parent, Mapping mapping, AddressRange range)
    {
        _kept.Add(range);
        if (mapping.Kind == MappingKind.Vdso)
            return;
        if (parent.Protection != mapping.Protection)
            Protect(range, mapping.Protection);
        if (VmFlags.AdviceOf(mapping).Except(VmFlags.AdviceOf(parent)).Any() || mapping.Label != parent.Label)
            _advised.Add(Piece(mapping, range));
        // WIPEONFORK memory is zeros in a template, and so in its fork.
        if (mapping.Kind != MappingKind.SharedFile && !mapping.Has(VmFlags.WipeOnFork))
            _pages.Compare(parent, mapping, range);
    }

    private void Protect(AddressRange range, uint protection)
    {
        if (_protected.Count > 0 && _protected[^1] is var last && last.Range.End == range.Start && last.Protection == protection)
            _protected[^1] = (new AddressRange(last.Range.Start, range.End), protection);
        else
            _protected.Add((range, protection));
    }

    /// <summary>A part of a mapping that the parent does not have.</summary>
    private void Build(Mapping mapping, AddressRange range)
    {
        if (range.IsEmpty)
            return;
        var piece = Piece(mapping, range);
        // One mapping stays one: mremap(2) refuses a range of two.
        if (range.Start.Value != mapping.Start && _kept.Count > 0 && _kept[^1].End == range.Start
            && mapping.Kind == MappingKind.PrivateAnonymous && !mapping.Has(VmFlags.GrowsDown))
        {
            _grown.Add(range);
            _grownPieces.Add(piece);
            if (!mapping.Has(VmFlags.WipeOnFork))
                _pages.WriteAll(piece);
        }
        else
        {
            _built.Add(piece);
        }
    }

    private static Mapping Piece(Mapping mapping, AddressRange range)
    {
        if (range == RangeOf(mapping))
            return mapping;
        var piece = mapping.Clone();
        var skippedPages = (range.Start.Value - mapping.Start) / PageSize.Bytes;
        piece.Start = range.Start.Value;
        piece.End = range.End.Value;
        if (mapping.Kind is MappingKind.PrivateFile or MappingKind.SharedFile)
            piece.FileOffset += skippedPages * PageSize.Bytes;
        piece.Extents.Clear();
        foreach (var extent in mapping.Extents)
        {
            var first = Math.Max(extent.PageIndex, skippedPages);
            var end = Math.Min(extent.PageIndex + extent.PageCount, skippedPages + range.PageCount);
            if (first < end)
                piece.Extents.Add(new PageExtent { PageIndex = first - skippedPages, PageCount = end - first, BlobOffset = extent.BlobOffset + ((first - extent.PageIndex) * PageSize.Bytes) });
        }
        return piece;
    }

    private void FindUnmapped()
    {
        var next = 0;
        foreach (var range in Parent.Mappings.Where(IsInTemplate).Select(RangeOf))
        {
            var at = range.Start;
            while (next < _kept.Count && _kept[next].Start < range.End)
            {
                if (_kept[next].Start > at)
                    Unmapped.Add(new AddressRange(at, _kept[next].Start));
                at = _kept[next++].End;
            }
            if (at < range.End)
                Unmapped.Add(new AddressRange(at, range.End));
        }
    }
}
