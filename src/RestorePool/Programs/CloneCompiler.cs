using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.RestorePool.Layers;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Compiles the program that the template runs for ever: take an order, fork a clone, take the next. What the clone does:
/// <code>
/// birth, which may lie any time before somebody wants the clone:
/// 1. Enter the sandbox's mount, IPC, UTS and network namespaces; it was born in its PID namespace under its own pid.
/// 2. Talk through its own control socket from here on. Session, working directory, host name.
/// 3. Memory objects, and the descriptors that may grow old. When it is to be parked: the working set.
/// 4. Park: wait for the start order, which brings the ends of its stdio and channel, and its clocks.
/// start:
/// 5. Clocks. The other descriptors.
/// 6. Create every other thread under its own tid; each sets its own state, reports ready to the main thread, and waits.
/// 7. Timers, pending signals, credentials, and last the limits. Report Running; close the control socket; release the threads.
/// 8. Every thread leaves by rt_sigreturn; the last one unmaps the program on its way.
/// </code>
/// No thread runs application code before all of them exist and are complete: a clone that fails on the way has done nothing yet. Whatever
/// depends on the time or on the caller comes after the park, so that nothing in a parked clone grows stale.
/// </summary>
internal sealed class CloneCompiler
{
    private const ulong CLONE_PARENT = 0x8000;
    private const ulong CLONE_CHILD_CLEARTID = 0x20_0000;

    private readonly ProcessImage _process;
    private readonly RegionPlan _plan;
    private readonly ProgramBuilder _builder;
    private readonly CloneTimestamps _times;
    private readonly ThreadCompiler _threads;
    private readonly DescriptorCompiler _descriptors;
    private readonly ClockCompiler _clocks;
    private readonly bool _hasClocks;
    private readonly PrefaultTable _prefault;

    public CloneCompiler(Manifest manifest, ProcessImage process, RegionPlan plan, ContentsPlan contents, FramePlan frames)
    {
        _process = process;
        _plan = plan;
        _builder = new ProgramBuilder(plan.CloneLayout);
        Control = new ControlBlock(_builder, DescriptorCompiler.LowestControlDescriptor(process) + ControlDescriptorMargin);
        _times = new CloneTimestamps(_builder, Control);
        _threads = new ThreadCompiler(_builder, process, plan, frames);
        _clocks = new ClockCompiler(_builder, Control);
        _hasClocks = manifest.Clocks is not null;
        _prefault = new PrefaultTable(_builder);
        _descriptors = new DescriptorCompiler(new DescriptorStage
        {
            Builder = _builder,
            Manifest = manifest,
            Process = process,
            ControlDescriptor = Control.ControlDescriptor,
            SharedContents = contents.OfSharedMemory,
            PrivateContents = contents.OfMapping,
        });
    }

    /// <summary>Room between the application's descriptors and ours for what is received and for short-lived ones.</summary>
    private const int ControlDescriptorMargin = 16;

    public ControlBlock Control { get; }

    /// <summary>Where the ranges are listed of which each clone gets its own copy at its birth.</summary>
    public VirtualAddress PrefaultTable => _prefault.Address;

    /// <summary>First entry: where the memory program continues.</summary>
    public VirtualAddress Start => _plan.CloneEntries.Start;

    public RestoreProgram Compile()
    {
        // Before the template's own order: what a clone writes to lies together on the first page of data.
        var starts = new OrderBuffer(_builder, Control, ExternalPlan.For(_process).Count, StartOrder.PayloadBytes);
        var births = new OrderBuffer(_builder, Control, BirthOrder.DescriptorCount, LayerOrder.PayloadBytes);
        var next = _builder.NewLabel("next order");
        var refused = _builder.NewLabel("refused");
        var clone = _builder.NewLabel("clone");
        var bareFork = _builder.NewLabel("bare fork");
        var layerFork = _builder.NewLabel("fork for a layer");
        var pid = _builder.Word();
        _builder.Syscall(SyscallNumber.Munmap, "memory program", _plan.BuildOnly.Start, _plan.BuildOnly.LengthBytes);

        _builder.Mark(next);
        births.EmitReceive("next order", closeOnExec: false);
        _times.Emit(ClonePhase.Ordered);
        _builder.JumpIfEqual(bareFork, Operand.Load64(Control.OrderId), BirthOrder.BareFork);
        _builder.JumpIfEqual(layerFork, Operand.Load64(Control.OrderId), LayerOrder.Id);
        _builder.Syscall(SyscallNumber.Setns, "PID namespace of the sandbox", BirthOrder.Sandbox, (ulong)Namespaces.Pid).OnErrorGoto(refused);
        EmitFork(MainArguments(), pid, refused, clone);
        EmitEndOfOrder(pid);
        _builder.Jump(next);

        _builder.Mark(refused);
        ReportWriter.Emit(_builder, Control, ReportTag.Refused);
        EmitCloseOrder();
        _builder.Jump(next);

        EmitBareFork(bareFork, next, refused, pid);
        EmitLayerFork(births, layerFork, next, refused, pid);
        _builder.Mark(clone);
        EmitBirth(births);
        starts.EmitReceive("start order", closeOnExec: false);
        EmitStart(starts);
        _threads.EmitPrograms();
        return _builder.Build();
    }

    private CloneArguments MainArguments()
    {
        var main = _process.Threads[0];
        return new CloneArguments
        {
            Flags = CLONE_PARENT | (main.ClearChildTid == 0 ? 0 : CLONE_CHILD_CLEARTID),
            ChildTid = main.ClearChildTid,
            RequestedTid = _process.Pid,
        };
    }

    private void EmitFork(CloneArguments arguments, VirtualAddress pid, Label refused, Label child)
    {
        _builder.Syscall(SyscallNumber.Clone3, string.Create(CultureInfo.InvariantCulture, $"clone with pid {arguments.RequestedTid}"), arguments.Place(_builder), CloneArguments.SizeBytes)
            .StoreTo(pid).OnErrorGoto(refused);
        _builder.JumpIfLastZero(child);
    }

    private void EmitEndOfOrder(VirtualAddress pid)
    {
        ReportWriter.Emit(_builder, Control, ReportTag.Forked, Operand.Load64(pid));
        EmitCloseOrder();
    }

    private void EmitCloseOrder() =>
        _builder.Syscall(SyscallNumber.CloseRange, "descriptors of the order", 0, Control.ControlDescriptor - 1, 0);

    /// <summary>A fork of the template that does nothing: the floor that benchmarks compare a clone with.</summary>
    private void EmitBareFork(Label bareFork, Label next, Label refused, VirtualAddress pid)
    {
        var child = _builder.NewLabel("bare child");
        _builder.Mark(bareFork);
        // The namespace of the clone before is the one of our children until we choose another, and may be gone (clone3 then says ENOMEM).
        _builder.Syscall(SyscallNumber.Setns, "PID namespace of a bare fork", BirthOrder.Sandbox, (ulong)Namespaces.Pid).OnErrorGoto(refused);
        EmitFork(new CloneArguments { Flags = CLONE_PARENT }, pid, refused, child);
        EmitEndOfOrder(pid);
        _builder.Jump(next);
        _builder.Mark(child);
        _times.Emit(ClonePhase.Running);
        EmitRunningReport();
        _builder.Syscall(SyscallNumber.ExitGroup, "end of a bare fork", 0);
    }

    /// <summary>A fork of the template that becomes the template of a layer: it makes room for the layer's programs, and goes on in them when they are written.</summary>
    private void EmitLayerFork(OrderBuffer order, Label layerFork, Label next, Label refused, VirtualAddress pid)
    {
        const int ReadWriteExecute = 7;
        const int MapPrivateAnonymousFixedNoReplace = 0x02 | 0x20 | 0x10_0000;
        var child = _builder.NewLabel("template of a layer");
        _builder.Mark(layerFork);
        _builder.Syscall(SyscallNumber.Setns, "PID namespace of the farm", BirthOrder.Sandbox, (ulong)Namespaces.Pid).OnErrorGoto(refused);
        EmitFork(new CloneArguments { Flags = CLONE_PARENT }, pid, refused, child);
        EmitEndOfOrder(pid);
        _builder.Jump(next);
        _builder.Mark(child);
        _builder.Store(Control.DescriptorWord, BirthOrder.ControlSocket);
        _builder.Syscall(SyscallNumber.Dup2, "control socket of the layer's template", BirthOrder.ControlSocket, Control.ControlDescriptor);
        _builder.Store(Control.DescriptorWord, Control.ControlDescriptor);
        EmitCloseOrder();
        // Who it is, in case that the template dies before it can tell.
        _builder.Syscall(SyscallNumber.Getpid, "pid of the layer's template").StoreTo(Control.Result);
        _builder.Syscall(SyscallNumber.Mmap, "programs of the layer", LayerOrder.RegionStart(order), LayerOrder.RegionLength(order), ReadWriteExecute, MapPrivateAnonymousFixedNoReplace, -1, 0);
        ReportWriter.Emit(_builder, Control, ReportTag.Ready);
        _builder.Syscall(SyscallNumber.Read, "programs of the layer written", Control.ControlDescriptor, Control.OrderId, sizeof(ulong)).ExpectValue(sizeof(ulong));
        _builder.Enter(LayerOrder.EntryOf(order), LayerOrder.StubOf(order), LayerOrder.ControlBlockOf(order), "programs of the layer");
    }

    private void EmitBirth(OrderBuffer order)
    {
        // Whatever fails from the first step on is told to the clone's own socket, while that is still where the order put it.
        _builder.Store(Control.DescriptorWord, BirthOrder.ControlSocket);
        _times.Emit(ClonePhase.Forked);
        _builder.Syscall(SyscallNumber.Setns, "namespaces of the sandbox", BirthOrder.Sandbox, (ulong)Namespaces.Enterable);
        // The template's socket goes by the same call.
        _builder.Syscall(SyscallNumber.Dup2, "control socket of the clone", BirthOrder.ControlSocket, Control.ControlDescriptor);
        _builder.Store(Control.DescriptorWord, Control.ControlDescriptor);
        EmitCloseOrder();
        _times.Emit(ClonePhase.Entered);
        EmitSession();
        _builder.Syscall(SyscallNumber.Chdir, _process.WorkingDirectory, _builder.Text(_process.WorkingDirectory));
        EmitHostname();
        if (_hasClocks)
            _clocks.EmitAhead();
        _descriptors.CompileAhead();
        EmitMemoryOfTheClone();
        EmitWorkingSet(order);
    }

    /// <summary>In clones that nobody waits for yet; one that somebody waits for would come to its start later and to its first answer no sooner.</summary>
    private void EmitWorkingSet(OrderBuffer order)
    {
        var skip = _builder.NewLabel("no working set");
        _builder.JumpIfEqual(skip, BirthOrder.ToBeParked(order), 0);
        _prefault.Emit();
        _builder.Mark(skip);
    }

    private void EmitStart(OrderBuffer order)
    {
        _times.Emit(ClonePhase.Started);
        SchedulingCompiler.EmitStepForward(_builder, _process.Threads[0]);
        if (_hasClocks)
            _clocks.EmitStart(order);
        _descriptors.CompileRest();
        _times.Emit(ClonePhase.Described);
        _threads.EmitCreation();
        _times.Emit(ClonePhase.Threaded);
        new AttributeCompiler(_builder, _process).EmitPerClone();
        _threads.EmitMainState();
        _threads.EmitAwaitReady();
        new LimitCompiler(_builder, _process, Control.ControlDescriptor).EmitPerClone();
        _times.Emit(ClonePhase.Running);
        EmitRunningReport();
        _builder.Syscall(SyscallNumber.Close, "control socket", Control.ControlDescriptor);
        _threads.EmitRelease();
    }

    private void EmitRunningReport()
    {
        _builder.Store(Control.Tag, (int)ReportTag.Running);
        _builder.Syscall(SyscallNumber.Write, "report Running", Control.ControlDescriptor, Control.Address, CloneTimestamps.MessageBytes);
    }

    private void EmitSession()
    {
        if (_process.SessionId == _process.Pid)
            _builder.Syscall(SyscallNumber.Setsid, "session");
        else if (_process.ProcessGroupId == _process.Pid)
            _builder.Syscall(SyscallNumber.Setpgid, "process group", 0, 0);
    }

    private void EmitHostname()
    {
        if (_process.Hostname.Length == 0 || string.Equals(_process.Hostname, Environment.MachineName, StringComparison.Ordinal))
            return;
        _builder.Syscall(SyscallNumber.Sethostname, $"host name {_process.Hostname}", _builder.Text(_process.Hostname), System.Text.Encoding.UTF8.GetByteCount(_process.Hostname));
    }

    /// <summary>What fork does not hand on, or what would have kept it from handing on the mapping itself.</summary>
    private void EmitMemoryOfTheClone()
    {
        const int MADV_DONTFORK = 10;
        foreach (var mapping in _process.Mappings.Where(mapping => mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile or MappingKind.SharedFile))
        {
            if (mapping.Has(VmFlags.DontFork))
                _builder.Syscall(SyscallNumber.Madvise, MemoryCompiler.SubjectOf(mapping), mapping.Start, mapping.End - mapping.Start, MADV_DONTFORK);
            if (mapping.Has(VmFlags.Locked))
                _builder.Syscall(SyscallNumber.Mlock2, MemoryCompiler.SubjectOf(mapping), mapping.Start, mapping.End - mapping.Start, 0);
        }
    }
}
