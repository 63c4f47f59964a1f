using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>The two programs of a snapshot and where everything of ours lies; pure, made from the manifest alone.</summary>
public sealed class CompiledPrograms
{
    private readonly VirtualAddress _control;
    private readonly byte[] _frames;

    private CompiledPrograms(RegionPlan plan, ContentsPlan contents, RestoreProgram memory, RestoreProgram clone, VirtualAddress control, byte[] frames)
    {
        Plan = plan;
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

    internal ContentsPlan Contents { get; }

    /// <summary>Where clones mount sockets; a file must be there.</summary>
    internal IReadOnlyList<string> SocketPaths { get; private init; } = [];

    /// <exception cref="RestoreUnsupportedException">The snapshot holds what this version cannot restore.</exception>
    public static CompiledPrograms Compile(Manifest manifest)
    {
        var process = manifest.Processes[0];
        var frames = new FramePlan(process);
        var contents = new ContentsPlan(manifest, process);
        var plan = RegionPlan.For(process, frames.SizeBytes, contents.SizeBytes);
        contents.Place(plan.Contents);
        var cloneCompiler = new CloneCompiler(manifest, process, plan, contents, frames);
        var clone = cloneCompiler.Compile();
        var memory = new MemoryCompiler(manifest, process, plan, cloneCompiler.Control, cloneCompiler.Start).Compile();
        return new CompiledPrograms(plan, contents, memory, clone, cloneCompiler.Control.Address, frames.Build(plan.Frames)) { SocketPaths = PrivateSocketPaths.Of(process) };
    }

    /// <summary>Starts a husk with both programs; it begins with the memory program.</summary>
    internal Husk Start() => Husk.Start(
        Plan.Whole,
        [
            new ProgramPart(Plan.Stub.Start, Stub.Code.ToArray()),
            new ProgramPart(Plan.Frames.Start, _frames),
            new ProgramPart(Plan.CloneEntries.Start, Clone.EncodedEntries),
            new ProgramPart(Plan.CloneData.Start, Clone.Data),
            new ProgramPart(Plan.MemoryEntries.Start, Memory.EncodedEntries),
            new ProgramPart(Plan.MemoryData.Start, Memory.Data),
        ],
        Plan.MemoryEntries.Start,
        _control);
}
