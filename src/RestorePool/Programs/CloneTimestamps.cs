using System.Buffers.Binary;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// The phase times of a clone, taken with CLOCK_MONOTONIC by the template and the clone themselves and sent with the Running report: they
/// follow the control block directly, so that one write carries both.
/// </summary>
internal sealed class CloneTimestamps
{
    public const int Count = 7;

    /// <summary>Bytes of a Running report: the control block with its descriptor word, and the times.</summary>
    public const int MessageBytes = ControlBlockBytes + (Count * TimespecBytes);

    private const int ControlBlockBytes = 0x28;
    private const int TimespecBytes = 16;
    private const int CLOCK_MONOTONIC = 1;
    private readonly ProgramBuilder _builder;
    private readonly VirtualAddress _first;

    public CloneTimestamps(ProgramBuilder builder, ControlBlock control)
    {
        _builder = builder;
        _first = builder.Reserve(Count * TimespecBytes);
        if (_first != control.Address + ControlBlockBytes)
            throw new InvalidOperationException("the phase times must follow the control block");
    }

    public void Emit(ClonePhase phase) =>
        _builder.Syscall(SyscallNumber.ClockGettime, $"time of {phase}", CLOCK_MONOTONIC, _first + ((ulong)phase * TimespecBytes));

    /// <summary>Time of <paramref name="phase"/> in a Running report, in nanoseconds of CLOCK_MONOTONIC.</summary>
    public static long Decode(ReadOnlySpan<byte> message, ClonePhase phase)
    {
        var words = message[(ControlBlockBytes + ((int)phase * TimespecBytes))..];
        return (BinaryPrimitives.ReadInt64LittleEndian(words) * 1_000_000_000) + BinaryPrimitives.ReadInt64LittleEndian(words[8..]);
    }
}

/// <summary>Moments in the start of a clone.</summary>
internal enum ClonePhase
{
    /// <summary>The template has the order.</summary>
    Ordered = 0,

    /// <summary>The clone's first step.</summary>
    Forked = 1,

    /// <summary>The clone is in its namespaces.</summary>
    Entered = 2,

    /// <summary>It has its start order; before that it may have waited, parked.</summary>
    Started = 3,

    /// <summary>All descriptors are there. From here on the times are those of the clone's own clock.</summary>
    Described = 4,

    /// <summary>All threads exist.</summary>
    Threaded = 5,

    /// <summary>The next step is application code.</summary>
    Running = 6,
}
