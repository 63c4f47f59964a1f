using System.Buffers.Binary;
using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Layouts;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>
/// Captures the threads of a stopped process. Registers are stored as they will be when the thread runs again: restart rules are applied, a
/// thread inside a restartable sequence stands at its abort handler.
/// </summary>
internal sealed class ThreadCapture(CaptureContext context, StoppedProcess process, TargetMemory memory)
{
    private const ulong TileData = 1UL << 18;
    private const int StateInUseOffset = 512;
    private const int StackBytes = 24;
    private const ulong PR_GET_PDEATHSIG = 2;
    private const ulong PR_GET_TIMERSLACK = 30;
    private const ulong PR_GET_TID_ADDRESS = 40;

    private readonly int _onlineCpus = CountOnlineCpus();

    /// <summary>Everything that can be learnt from outside.</summary>
    public void Capture()
    {
        foreach (var thread in process.Threads)
            context.Image.Threads.Add(CaptureOne(thread));
        foreach (var signal in process.MainThread.ReadPendingSignalsOfProcess())
            context.Image.PendingSignals.Add(ByteString.CopyFrom(signal));
    }

    /// <summary>What only the thread itself can ask the kernel.</summary>
    public void CaptureRemote(RemoteSyscalls remote)
    {
        for (var i = 0; i < process.Threads.Count; i++)
        {
            var thread = process.Threads[i];
            var image = context.Image.Threads[i];
            remote.ClearData(StackBytes);
            remote.Require(thread, SyscallNumber.Sigaltstack, 0, remote.Data.Start.Value);
            var stack = remote.ReadData(StackBytes);
            image.AlternateStack = new AlternateStack
            {
                Address = BinaryPrimitives.ReadUInt64LittleEndian(stack),
                Flags = BinaryPrimitives.ReadUInt32LittleEndian(stack.AsSpan(8)),
                LengthBytes = BinaryPrimitives.ReadUInt64LittleEndian(stack.AsSpan(16)),
            };
            remote.ClearData(2 * sizeof(ulong));
            remote.Require(thread, SyscallNumber.Prctl, PR_GET_TID_ADDRESS, remote.Data.Start.Value);
            remote.Require(thread, SyscallNumber.Prctl, PR_GET_PDEATHSIG, remote.Data.Start.Value + sizeof(ulong));
            var answers = remote.ReadData(2 * sizeof(ulong));
            image.ClearChildTid = BinaryPrimitives.ReadUInt64LittleEndian(answers);
            RefuseParentDeathSignal(image, BinaryPrimitives.ReadUInt32LittleEndian(answers.AsSpan(sizeof(ulong))));
            image.TimerSlackNs = remote.Require(thread, SyscallNumber.Prctl, PR_GET_TIMERSLACK);
        }
    }

    /// <summary>
    /// The kernel sends it when the thread ends that started the process (prctl(2), PR_SET_PDEATHSIG). A clone was started by whichever of the
    /// farm's threads ordered its template, which may end at any time; and it ends with the farm in any case.
    /// </summary>
    private void RefuseParentDeathSignal(ThreadImage thread, uint signal)
    {
        if (signal == 0)
            return;
        if (thread.Tid == context.Image.Threads[0].Tid)
            context.Image.ParentDeathSignal = signal;
        context.Refuse(
            $"thread {thread.Tid} ({thread.Name})",
            $"it wants signal {signal} when its parent ends, but a clone's parent is one of the farm's threads",
            "Clear it with prctl(PR_SET_PDEATHSIG, 0) in that thread before the worker is ready; a clone ends with the farm without it.");
    }

    private ThreadImage CaptureOne(Tracee thread)
    {
        var status = ProcStatus.Read(process.Pid, thread.Tid);
        var registers = thread.ReadRegisters();
        var subject = $"thread {thread.Tid} ({status.Name})";
        if (!registers.IsLongMode)
            context.Refuse(subject, "it runs 32-bit code", "Use a 64-bit build of the program.");
        var xstate = thread.ReadXstate();
        if ((BinaryPrimitives.ReadUInt64LittleEndian(xstate.AsSpan(StateInUseOffset)) & TileData) != 0)
            context.Refuse(subject, "its AMX tile registers are in use", "Release the tiles (TILERELEASE) before the worker is ready.");
        var (head, length) = RobustList.Get(thread.Tid);
        var rseq = thread.ReadRseq();
        var image = new ThreadImage
        {
            Tid = (uint)status.NamespacePids[^1],
            Name = status.Name,
            Registers = ByteString.CopyFrom(ResumeRegisters(registers, rseq).ToBytes()),
            Xstate = ByteString.CopyFrom(xstate),
            SignalMask = thread.ReadSignalMask(),
            RobustListHead = head,
            RobustListLength = head == 0 ? 0 : length,
            Scheduling = CaptureScheduling(thread.Tid, subject),
            StoppedIn = registers.IsInSyscall ? SyscallNames.NameOf((SyscallNumber)registers.OrigRax) : "user mode",
        };
        if (rseq.Address != 0)
            image.Rseq = new Rseq { Address = rseq.Address, LengthBytes = rseq.LengthBytes, Signature = rseq.Signature };
        foreach (var signal in thread.ReadPendingSignals())
            image.PendingSignals.Add(ByteString.CopyFrom(signal));
        return image;
    }

    private UserRegisters ResumeRegisters(UserRegisters registers, RseqConfiguration rseq)
    {
        var resumed = RestartRules.Apply(registers);
        // The pointer to the section stays in memory: the kernel clears it by itself when it finds the thread elsewhere.
        if (RseqSection.Find(rseq, registers, memory) is { } section)
            resumed.Rip = section.AbortHandler.Value;
        return resumed;
    }

    private Scheduling CaptureScheduling(int tid, string subject)
    {
        const uint SCHED_DEADLINE = 6;
        var attributes = Scheduler.GetAttributes(tid);
        if (attributes.Policy == SCHED_DEADLINE)
            context.Refuse(subject, "it is scheduled by deadlines, a reservation that clones cannot all have", "Use SCHED_OTHER or SCHED_FIFO in the worker.");
        var affinity = Scheduler.GetAffinity(tid);
        var allowed = affinity.Sum(octet => int.PopCount(octet));
        return new Scheduling
        {
            Policy = attributes.Policy,
            Priority = attributes.Priority,
            Nice = attributes.Nice,
            Affinity = allowed >= _onlineCpus ? ByteString.Empty : ByteString.CopyFrom(affinity),
        };
    }

    /// <summary>/sys/devices/system/cpu/online: a list of ranges such as <c>0-3,8</c>.</summary>
    private static int CountOnlineCpus()
    {
        var count = 0;
        foreach (var range in File.ReadAllText("/sys/devices/system/cpu/online").Trim().Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var ends = range.Split('-').Select(int.Parse).ToArray();
            count += ends[^1] - ends[0] + 1;
        }

        return count;
    }
}
