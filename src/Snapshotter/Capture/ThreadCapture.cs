using System.Buffers.Binary;
using System.Globalization;
using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>Captures what belongs to a thread: registers, signal state, the addresses the kernel keeps for it, scheduling.</summary>
/// <remarks>
/// Registers and signal mask are read before the first remote system call, which changes both while it lasts; what only the thread itself can
/// be asked for comes after.
/// </remarks>
internal sealed class ThreadCapture(CaptureContext context, StoppedProcess process, TargetMemory memory)
{
    private const int PR_GET_TID_ADDRESS = 40;

    /// <summary>What can be read from outside; before any remote system call.</summary>
    public void CaptureFromOutside()
    {
        foreach (var thread in process.Threads)
            context.Image.Threads.Add(Capture(thread));
    }

    /// <summary>What each thread has to be asked for.</summary>
    public void CaptureRemotely(RemoteSyscalls remote)
    {
        foreach (var (thread, image) in process.Threads.Zip(context.Image.Threads))
            CaptureRemotely(remote, thread, image);
    }

    private ThreadImage Capture(Tracee thread)
    {
        var status = ProcStatus.Read(context.Pid, thread.Tid);
        var image = new ThreadImage
        {
            Tid = (uint)status.NamespacePids[^1],
            Name = status.Name,
            SignalMask = thread.ReadSignalMask(),
            Xstate = ByteString.CopyFrom(thread.ReadXstate()),
            TimerSlackNs = ulong.Parse(File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{thread.Tid}/timerslack_ns")), CultureInfo.InvariantCulture),
            Scheduling = CaptureScheduling(thread.Tid),
        };
        image.PendingSignals.AddRange(thread.ReadPendingSignals().Select(signal => ByteString.CopyFrom(signal)));
        CaptureRegisters(thread, image);
        var (head, length) = RobustList.Get(thread.Tid);
        (image.RobustListHead, image.RobustListLength) = (head, length);
        return image;
    }

    private void CaptureRegisters(Tracee thread, ThreadImage image)
    {
        var registers = thread.ReadRegisters();
        image.StoppedIn = registers.IsInSyscall ? SyscallNames.NameOf((SyscallNumber)registers.OrigRax) : "user mode";
        var rseq = thread.ReadRseq();
        if (rseq.Address != 0)
            image.Rseq = new Rseq { Address = rseq.Address, LengthBytes = rseq.LengthBytes, Signature = rseq.Signature };
        // The kernel would abort a restartable sequence when the thread runs again after such a stop; in a clone we do.
        var section = RseqSection.Find(rseq, registers, memory);
        var restarted = RestartRules.Apply(registers);
        if (section is { } interrupted)
            restarted.Rip = interrupted.AbortHandler.Value;
        image.Registers = ByteString.CopyFrom(restarted.ToBytes());
    }

    private static void CaptureRemotely(RemoteSyscalls remote, Tracee thread, ThreadImage image)
    {
        remote.ClearData(8);
        remote.Require(thread, SyscallNumber.Prctl, PR_GET_TID_ADDRESS, remote.Data.Start.Value);
        image.ClearChildTid = BinaryPrimitives.ReadUInt64LittleEndian(remote.ReadData(8));
        // stack_t: address, flags (32 bits), padding, size.
        remote.Require(thread, SyscallNumber.Sigaltstack, 0, remote.Data.Start.Value);
        var stack = remote.ReadData(24);
        image.AlternateStack = new AlternateStack
        {
            Address = BinaryPrimitives.ReadUInt64LittleEndian(stack),
            Flags = BinaryPrimitives.ReadUInt32LittleEndian(stack.AsSpan(8)),
            LengthBytes = BinaryPrimitives.ReadUInt64LittleEndian(stack.AsSpan(16)),
        };
    }

    private static Scheduling CaptureScheduling(int tid)
    {
        var attributes = Scheduler.GetAttributes(tid);
        var affinity = Scheduler.GetAffinity(tid);
        var allowed = affinity.Sum(part => System.Numerics.BitOperations.PopCount(part));
        return new Scheduling
        {
            Policy = attributes.Policy,
            Priority = attributes.Priority,
            Nice = attributes.Nice,
            Affinity = allowed >= Environment.ProcessorCount ? ByteString.Empty : ByteString.CopyFrom(affinity),
        };
    }
}
