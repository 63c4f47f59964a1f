using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Where the engine's own memory lies in a template: one range in the middle of the largest gap between the snapshot's mappings.
/// <code>
///   stub | frames | fork identity | clone entries | clone data | contents | memory entries | memory data
///   kept in every clone           | gone when application code runs | gone when the template is built
/// </code>
/// While the template is built, the staging area (<see cref="StagingPlan"/>) lies behind it.
/// </summary>
/// <remarks>
/// Signal frames are kept beside the stub and not below the threads' stack pointers: a Go stack is a few KiB in the middle of a heap, and what
/// lies below its stack pointer belongs to somebody else.
/// </remarks>
public sealed record RegionPlan
{
    private const ulong ProgramEntriesBytes = 8UL << 20;
    private const ulong ProgramDataBytes = 32UL << 20;
    private const ulong LowestAddress = 0x1_0000_0000;

    private RegionPlan(AddressRange stub, AddressRange frames, ulong forkIdentityBytes, ulong contentsBytes)
    {
        Stub = stub;
        Frames = frames;
        ForkIdentity = AddressRange.FromLength(frames.End, forkIdentityBytes);
        CloneEntries = AddressRange.FromLength(ForkIdentity.End, ProgramEntriesBytes);
        CloneData = AddressRange.FromLength(CloneEntries.End, ProgramDataBytes);
        Contents = AddressRange.FromLength(CloneData.End, contentsBytes);
        MemoryEntries = AddressRange.FromLength(Contents.End, ProgramEntriesBytes);
        MemoryData = AddressRange.FromLength(MemoryEntries.End, ProgramDataBytes);
    }

    public AddressRange Stub { get; }

    /// <summary>One signal frame per thread, read-only.</summary>
    public AddressRange Frames { get; }

    /// <summary>
    /// The page of the <see cref="ForkIdentityFunction"/>, or empty where nothing calls it. Not beside the stub: both are readable and executable,
    /// the kernel would show them as one mapping, and a later freeze leaves out the one and must keep the other.
    /// </summary>
    public AddressRange ForkIdentity { get; }

    public AddressRange CloneEntries { get; }

    public AddressRange CloneData { get; }

    /// <summary>Contents of memory objects, to be written into each clone's own.</summary>
    public AddressRange Contents { get; }

    public AddressRange MemoryEntries { get; }

    public AddressRange MemoryData { get; }

    /// <summary>Where memory may be staged while the template is built; null when there is no room.</summary>
    public VirtualAddress? Staging { get; private set; }

    public AddressRange Whole => new(Stub.Start, MemoryData.End);

    /// <summary>What the last thread of a clone unmaps on its way out.</summary>
    public AddressRange Transient => new(CloneEntries.Start, Contents.End);

    /// <summary>What the template unmaps before it takes orders.</summary>
    public AddressRange BuildOnly => new(MemoryEntries.Start, MemoryData.End);

    public ProgramLayout CloneLayout => new(Stub, CloneEntries, CloneData);

    public ProgramLayout MemoryLayout => new(Stub, MemoryEntries, MemoryData);

    /// <exception cref="RestoreUnsupportedException">The snapshot leaves no gap that is large enough.</exception>
    /// <param name="occupied">What else must be left free, in any order.</param>
    public static RegionPlan For(ProcessImage process, ulong framesBytes, bool forkIdentity, ulong contentsBytes, ulong stagingBytes, IEnumerable<AddressRange>? occupied = null)
    {
        var zero = new VirtualAddress(LowestAddress);
        var frames = Aligned(framesBytes);
        var contents = Aligned(contentsBytes);
        var identity = forkIdentity ? PageSize.Bytes : 0;
        var length = PageSize.Bytes + frames + identity + contents + (2 * (ProgramEntriesBytes + ProgramDataBytes));
        var gap = LargestGap(process, occupied ?? []);
        if (gap.LengthBytes < length + PageSize.HugeBytes)
            throw new RestoreUnsupportedException($"no free address range of {length} bytes: the largest gap between the snapshot's mappings is {gap} ({gap.LengthBytes} bytes)");
        // Without room for staging, memory is built in its place: forks are slower then.
        var behind = stagingBytes + (2 * PageSize.HugeBytes);
        var staging = gap.LengthBytes >= length + behind + PageSize.HugeBytes;
        var start = (gap.Start + ((gap.LengthBytes - length - (staging ? behind : 0)) / 2)).AlignDown(PageSize.HugeBytes);
        var stub = AddressRange.FromLength(start > zero ? start : zero, PageSize.Bytes);
        var plan = new RegionPlan(stub, AddressRange.FromLength(stub.End, frames), identity, contents);
        plan.Staging = staging ? (plan.Whole.End + PageSize.HugeBytes).AlignUp(PageSize.HugeBytes) : null;
        return plan;
    }

    private static AddressRange LargestGap(ProcessImage process, IEnumerable<AddressRange> occupied)
    {
        var best = new AddressRange(VirtualAddress.Null, VirtualAddress.Null);
        var previous = new VirtualAddress(LowestAddress);
        var mapped = process.Mappings.Select(mapping => new AddressRange(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End)));
        foreach (var range in mapped.Concat(occupied).OrderBy(range => range.Start))
        {
            if (range.Start > previous && range.Start - previous > best.LengthBytes)
                best = new AddressRange(previous, range.Start);
            if (range.End > previous)
                previous = range.End;
        }
        return best;
    }

    private static ulong Aligned(ulong bytes) => (bytes + PageSize.Bytes - 1) & ~(PageSize.Bytes - 1);
}
