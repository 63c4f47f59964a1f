using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>What the descriptor stage of a clone program is compiled from.</summary>
public sealed record DescriptorStage
{
    /// <summary>The program that is being written.</summary>
    public required ProgramBuilder Builder { get; init; }

    public required Manifest Manifest { get; init; }

    public required ProcessImage Process { get; init; }

    /// <summary>
    /// Number of the engine's control socket, which the stage leaves alone. Every other number is free when the stage begins; the externals of
    /// <see cref="ExternalPlan"/> arrive in its middle, at <c>0..n-1</c>, not close-on-exec and in blocking mode.
    /// Must be at least <see cref="DescriptorCompiler.LowestControlDescriptor"/>.
    /// </summary>
    public required int ControlDescriptor { get; init; }

    /// <summary>Where the contents of an extent (second argument: its index) of a shared memory object (first: its id) lie in the clone.</summary>
    public required Func<uint, int, VirtualAddress> SharedContents { get; init; }

    /// <summary>Where the contents of an extent of a PRIVATE_SHARED_MEMORY mapping, the pages that it owns, lie in the clone.</summary>
    public required Func<Mapping, int, VirtualAddress> PrivateContents { get; init; }
}
