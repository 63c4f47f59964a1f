using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>The threads of a clone: creation under their tids, their own state, and the moment in which all of them leave together.</summary>
internal sealed class ThreadCompiler
{
    private const int FUTEX_WAIT_PRIVATE = 0 | 128;
    private const int FUTEX_WAKE_PRIVATE = 1 | 128;

    /// <summary>CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS: what pthread_create asks for.</summary>
    private const ulong ThreadFlags = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x8_0000;
    private const ulong CLONE_CHILD_CLEARTID = 0x20_0000;

    private readonly ProgramBuilder _builder;
    private readonly ProcessImage _process;
    private readonly RegionPlan _plan;
    private readonly FramePlan _frames;
    private readonly VirtualAddress _ready;
    private readonly VirtualAddress _observed;
    private readonly VirtualAddress _go;
    private readonly VirtualAddress _inside;
    private readonly List<Label> _programs = [];
    private readonly CredentialCompiler _credentials;

    public ThreadCompiler(ProgramBuilder builder, ProcessImage process, RegionPlan plan, FramePlan frames)
    {
        _builder = builder;
        _process = process;
        _plan = plan;
        _frames = frames;
        // Together with the control block on the first page of data: a clone writes to one page of the program, not to several.
        _ready = builder.Word();
        _observed = builder.Word();
        _go = builder.Word();
        _inside = builder.Word((ulong)process.Threads.Count);
        _credentials = new CredentialCompiler(builder, process);
    }

    private int OtherThreads => _process.Threads.Count - 1;

    /// <summary>In the main thread: every other thread, each continuing in its own program.</summary>
    public void EmitCreation()
    {
        for (var i = 1; i < _process.Threads.Count; i++)
        {
            var thread = _process.Threads[i];
            var arguments = new CloneArguments
            {
                Flags = ThreadFlags | (thread.ClearChildTid == 0 ? 0 : CLONE_CHILD_CLEARTID),
                ChildTid = thread.ClearChildTid,
                ThreadLocalStorage = UserRegisters.FsBase(thread),
                RequestedTid = thread.Tid,
            };
            _programs.Add(_builder.NewLabel(SubjectOf(thread)));
            _builder.Syscall(SyscallNumber.Clone3, SubjectOf(thread), arguments.Place(_builder), CloneArguments.SizeBytes);
            _builder.JumpIfLastZero(_programs[^1]);
        }
    }

    /// <summary>The main thread's own state, as far as fork did not hand it on, and what must come last of all.</summary>
    public void EmitMainState()
    {
        var main = _process.Threads[0];
        EmitKernelPointers(main);
        foreach (var signal in _process.PendingSignals)
            _builder.Syscall(SyscallNumber.RtSigqueueinfo, "pending signal of the process", _process.Pid, SignalNumber(signal.Span), _builder.Data(signal.Span));
        EmitPendingSignals(main);
        _credentials.Emit();
    }

    /// <summary>In the main thread: wait until every other thread is complete.</summary>
    public void EmitAwaitReady()
    {
        if (OtherThreads == 0)
            return;
        var check = _builder.NewLabel("check readiness of threads");
        var done = _builder.NewLabel("threads ready");
        _builder.Mark(check);
        _builder.Store(_observed, Operand.Load32(_ready));
        _builder.JumpIfEqual(done, Operand.Load32(_observed), OtherThreads);
        // The kernel compares again: a thread that reported in between makes this return at once (EAGAIN), as does any wake-up.
        _builder.Syscall(SyscallNumber.Futex, "threads ready", _ready, FUTEX_WAIT_PRIVATE, Operand.Load32(_observed), 0).IgnoreResult();
        _builder.Jump(check);
        _builder.Mark(done);
    }

    /// <summary>In the main thread: let the others go, and go.</summary>
    public void EmitRelease()
    {
        if (OtherThreads > 0)
        {
            _builder.Store(_go, 1);
            _builder.Syscall(SyscallNumber.Futex, "threads released", _go, FUTEX_WAKE_PRIVATE, int.MaxValue);
        }
        _builder.Leave(_frames.StackPointer(_plan.Frames, 0), _inside, _plan.Transient);
    }

    /// <summary>The programs of all other threads.</summary>
    public void EmitPrograms()
    {
        for (var i = 1; i < _process.Threads.Count; i++)
        {
            _builder.Mark(_programs[i - 1]);
            EmitProgram(_process.Threads[i], i);
        }
    }

    private void EmitProgram(ThreadImage thread, int index)
    {
        const int ARCH_SET_GS = 0x1001;
        var main = _process.Threads[0];
        EmitKernelPointers(thread);
        if (UserRegisters.GsBase(thread) != UserRegisters.GsBase(main))
            _builder.Syscall(SyscallNumber.ArchPrctl, $"GS base of {SubjectOf(thread)}", ARCH_SET_GS, UserRegisters.GsBase(thread));
        if (thread.Name != main.Name)
            AttributeCompiler.EmitName(_builder, thread);
        if (thread.TimerSlackNs != main.TimerSlackNs)
            AttributeCompiler.EmitTimerSlack(_builder, thread);
        SchedulingCompiler.Emit(_builder, thread, main.Scheduling ?? new Scheduling(), SubjectOf(thread));
        EmitPendingSignals(thread);
        _credentials.Emit();
        _builder.AtomicAdd(_ready, 1, "thread ready");
        _builder.Syscall(SyscallNumber.Futex, "thread ready", _ready, FUTEX_WAKE_PRIVATE, 1);
        var wait = _builder.NewLabel("wait for release");
        var leave = _builder.NewLabel("leave");
        _builder.Mark(wait);
        _builder.JumpIfEqual(leave, Operand.Load32(_go), 1);
        _builder.Syscall(SyscallNumber.Futex, "release", _go, FUTEX_WAIT_PRIVATE, 0, 0).IgnoreResult(); // EAGAIN: released meanwhile
        _builder.Jump(wait);
        _builder.Mark(leave);
        _builder.Leave(_frames.StackPointer(_plan.Frames, index), _inside, _plan.Transient);
    }

    /// <summary>Addresses in the thread's memory that the kernel keeps: robust list and rseq; clear_child_tid came with clone3.</summary>
    private void EmitKernelPointers(ThreadImage thread)
    {
        if (thread.RobustListHead != 0)
            _builder.Syscall(SyscallNumber.SetRobustList, $"robust list of {SubjectOf(thread)}", thread.RobustListHead, thread.RobustListLength);
        if (thread.Rseq is { Address: not 0 } rseq)
            _builder.Syscall(SyscallNumber.Rseq, $"rseq of {SubjectOf(thread)}", rseq.Address, rseq.LengthBytes, 0, rseq.Signature);
    }

    private void EmitPendingSignals(ThreadImage thread)
    {
        foreach (var signal in thread.PendingSignals)
            _builder.Syscall(SyscallNumber.RtTgsigqueueinfo, $"pending signal of {SubjectOf(thread)}", _process.Pid, thread.Tid, SignalNumber(signal.Span), _builder.Data(signal.Span));
    }

    private static int SignalNumber(ReadOnlySpan<byte> siginfo) => BitConverter.ToInt32(siginfo);

    private static string SubjectOf(ThreadImage thread) => string.Create(CultureInfo.InvariantCulture, $"thread {thread.Tid} ({thread.Name})");
}
