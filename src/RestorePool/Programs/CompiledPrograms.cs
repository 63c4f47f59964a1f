using System.Security.Cryptography;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Programs;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Layers;

namespace Snapshots.RestorePool.Programs;

/// <summary>The two programs of a snapshot and where everything of ours lies; pure, made from the manifest and from what its <see cref="ForkDetectionPlan"/> found.</summary>
public sealed class CompiledPrograms
{
    private readonly VirtualAddress _control;
    private readonly byte[] _frames;

    private CompiledPrograms(RegionPlan plan, StagingPlan staging, ContentsPlan contents, RestoreProgram memory, RestoreProgram clone, VirtualAddress control, byte[] frames)
    {
        Plan = plan;
        Staging = staging;
        Contents = contents;
        Memory = memory;
        Clone = clone;
        _control = control;
        _frames = frames;
    }

    /// <summary>Turns a husk into the template.</summary>
    public RestoreProgram Memory { get; }

    /// <summary>Takes orders, and turns a fork of the template into a clone.</summary>
    public RestoreProgram Clone { get; }

    public RegionPlan Plan { get; }

    /// <summary>Where memory is built before it is moved.</summary>
    internal StagingPlan Staging { get; }

    internal ContentsPlan Contents { get; }

    /// <summary>See <see cref="Programs.PrefaultTable"/>.</summary>
    internal VirtualAddress PrefaultTable { get; private init; }

    /// <summary>The number of the template's control socket.</summary>
    internal int ControlDescriptor { get; private init; }

    internal VirtualAddress ControlBlock => _control;

    /// <summary>Where clones mount sockets; a file must be there.</summary>
    internal IReadOnlyList<string> SocketPaths { get; private init; } = [];

    /// <summary>Pages that the template has otherwise than the image, changed by <see cref="ForkDetectionPatch"/>; ascending.</summary>
    public IReadOnlyList<AddressRange> UnlikeImage { get; private init; } = [];

    /// <exception cref="RestoreUnsupportedException">The snapshot holds what this version cannot restore.</exception>
    public static CompiledPrograms Compile(Manifest manifest, ForkDetectionPlan forkDetection) => Compile(manifest, forkDetection, layer: null);

    /// <param name="forkDetection">Null when it is not known yet: room is kept for what it may need.</param>
    /// <param name="layer">For a template that is a fork of its parent's; null for one that a husk becomes.</param>
    /// <param name="lazy">Compile a template whose memory is filled on demand: it is built in its place, and opens a userfaultfd for us to take.</param>
    /// <exception cref="RestoreUnsupportedException">The snapshot holds what this version cannot restore.</exception>
    internal static CompiledPrograms Compile(Manifest manifest, ForkDetectionPlan? forkDetection, LayerPlan? layer, bool lazy = false)
    {
        var process = manifest.Processes[0];
        var frames = new FramePlan(process);
        var contents = new ContentsPlan(manifest, process);
        var staging = lazy ? StagingPlan.None : StagingPlan.For(layer?.Built ?? process);
        var plan = RegionPlan.For(process, frames.SizeBytes, forkIdentity: forkDetection is not { IsEmpty: true }, contents.SizeBytes, staging.LengthBytes, layer?.Occupied);
        if (plan.Staging is { } stagingStart)
            staging.Place(stagingStart);
        else
            staging = StagingPlan.None;
        contents.Place(plan.Contents);
        var cloneCompiler = new CloneCompiler(manifest, process, plan, contents, frames);
        var clone = cloneCompiler.Compile();
        var memory = new MemoryCompiler(manifest, process, plan, staging, cloneCompiler.Control, cloneCompiler.Start, clone, layer) { Lazy = lazy }.Compile();
        return new CompiledPrograms(plan, staging, contents, memory, clone, cloneCompiler.Control.Address, frames.Build(plan.Frames))
        {
            PrefaultTable = cloneCompiler.PrefaultTable,
            ControlDescriptor = cloneCompiler.Control.ControlDescriptor,
            SocketPaths = PrivateSocketPaths.Of(process),
            UnlikeImage = forkDetection is null ? [] : ForkDetectionPatch.PagesOf(forkDetection),
        };
    }

    /// <summary>Starts a husk with both programs; it begins with the memory program.</summary>
    /// <remarks>Each start has another key: a snapshot of a clone must not meet the number that its own template gave it.</remarks>
    internal Husk Start() => Husk.Start(Plan.Whole, Parts(), Plan.MemoryEntries.Start, _control);

    /// <summary>What is to be written where, within the plan's whole range.</summary>
    internal IReadOnlyList<ProgramPart> Parts() =>
        [
            .. ForkIdentityPart(),
            new ProgramPart(Plan.Stub.Start, Stub.Code.ToArray()),
            new ProgramPart(Plan.Frames.Start, _frames),
            new ProgramPart(Plan.CloneEntries.Start, Clone.EncodedEntries),
            new ProgramPart(Plan.CloneData.Start, Clone.Data),
            new ProgramPart(Plan.MemoryEntries.Start, Memory.EncodedEntries),
            new ProgramPart(Plan.MemoryData.Start, Memory.Data),
        ];

    private IEnumerable<ProgramPart> ForkIdentityPart()
    {
        if (Plan.ForkIdentity.LengthBytes > 0)
            yield return new ProgramPart(Plan.ForkIdentity.Start, ForkIdentityFunction.Build(RandomNumberGenerator.GetInt32(1, ForkIdentityFunction.MaximumKey)));
    }
}
