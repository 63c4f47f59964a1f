using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>The signal frames by which the threads of a clone enter application code, one per thread, behind a magic by which a later freeze leaves them out.</summary>
internal sealed class FramePlan
{
    public const string Magic = "SNAPSHOTS-FRAME1";

    private readonly ProcessImage _process;
    private readonly List<ulong> _offsets = [];

    public FramePlan(ProcessImage process)
    {
        _process = process;
        var offset = (ulong)SignalFrame.Alignment;
        foreach (var thread in process.Threads)
        {
            _offsets.Add(offset);
            offset += (ulong)SignalFrame.SizeBytes(thread.Xstate.Length);
        }
        SizeBytes = offset;
    }

    public ulong SizeBytes { get; }

    /// <summary>Where the kernel must find the stack pointer for the frame of the thread at <paramref name="index"/>.</summary>
    public VirtualAddress StackPointer(AddressRange frames, int index) => SignalFrame.StackPointer(frames.Start + _offsets[index]);

    public byte[] Build(AddressRange frames)
    {
        var bytes = new byte[SizeBytes];
        Encoding.ASCII.GetBytes(Magic, bytes);
        for (var i = 0; i < _process.Threads.Count; i++)
        {
            var thread = _process.Threads[i];
            var stack = thread.AlternateStack;
            const uint SS_DISABLE = 2;
            var frame = SignalFrame.Build(
                frames.Start + _offsets[i],
                thread.Registers.Span,
                thread.Xstate.Span,
                thread.SignalMask,
                stack is null ? (0, SS_DISABLE, 0) : (stack.Address, stack.Flags, stack.LengthBytes));
            frame.CopyTo(bytes.AsSpan((int)_offsets[i]));
        }
        return bytes;
    }
}
