using System.Buffers.Binary;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Linux.Layouts;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;

namespace Snapshots.Tracing;

/// <summary>
/// Runs system calls inside the threads of a stopped process, in such a way that the tracer may die at any point and the target runs on.
/// </summary>
/// <remarks>
/// <code>
///      scratch in the target                     a call
///   +--------------------------+     1. the thread's original registers, mask and vector state go into its frame
///   | syscall                  |     2. all signals are blocked; rip -> code, rsp -> frame, rax.. -> the call
///   | mov eax, 15; syscall     |     3. run to the stop at entry, then at exit; read rax
///   +--------------------------+     4. (other calls: from 2.)
///   | rt_sigframe of thread 1  |     5. PTRACE_INTERRUPT, continue: the thread stops again where it was stopped at first, in the
///   | rt_sigframe of thread 2  |        kernel's signal code, so that pending restarts are handled when it runs
///   +--------------------------+     6. registers, mask and rseq are put back
///   | data (read, write)       |
///   +--------------------------+
/// </code>
/// If we die between 2 and 6 the thread finishes the call and returns to its original state by rt_sigreturn on its frame.
/// The two moments without that net are making and removing the scratch mapping itself, by a <c>syscall</c> instruction found in the
/// vDSO: some tens of microseconds each. A tracer that dies elsewhere leaves the scratch mapping behind, a few KiB.
/// SIGSTOP cannot be blocked: one that arrives is held back and sent again when the thread is left.
/// </remarks>
public sealed class RemoteSyscalls : IDisposable
{
    private const ulong AllSignals = ulong.MaxValue;
    private const ulong ProtRead = 1;
    private const ulong ProtWrite = 2;
    private const ulong ProtExec = 4;
    private const ulong MapPrivateAnonymous = 0x22;
    private const ulong NoDescriptor = ulong.MaxValue;
    private const ulong CodeBytes = SignalFrame.Alignment;

    /// <summary>syscall; mov eax, 15 (rt_sigreturn); syscall; ud2.</summary>
    private static readonly byte[] Code = [0x0f, 0x05, 0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x0f, 0x0b];

    private readonly StoppedProcess _process;
    private readonly TargetMemory _memory;
    private readonly Dictionary<int, EnteredThread> _entered = [];
    private readonly VirtualAddress _syscallInstruction;
    private readonly int _frameBytes;
    private AddressRange _code;

    private RemoteSyscalls(StoppedProcess process, TargetMemory memory)
    {
        _process = process;
        _memory = memory;
        _syscallInstruction = FindSyscallInstruction();
        _frameBytes = SignalFrame.SizeBytes(process.MainThread.ReadXstate().Length);
    }

    /// <summary>A range of the target that calls may use for their results: readable, writable, zero at first.</summary>
    public AddressRange Data { get; private set; }

    /// <summary>Makes the scratch mappings in <paramref name="process"/>.</summary>
    /// <exception cref="TracingException">The target is gone, or its main thread does not run 64-bit code.</exception>
    public static RemoteSyscalls Open(StoppedProcess process, TargetMemory memory)
    {
        var session = new RemoteSyscalls(process, memory);
        try
        {
            session.MakeScratch();
            return session;
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    /// <summary>Runs one system call in <paramref name="thread"/> and returns its result, a negated error number when it failed. It must not block.</summary>
    public long Call(Tracee thread, SyscallNumber number, params ReadOnlySpan<ulong> arguments)
    {
        var entered = Enter(thread);
        return Run(entered, _code.Start, SignalFrame.StackPointer(entered.Frame), number, arguments);
    }

    /// <summary>As <see cref="Call"/>, for calls that can only fail for reasons nobody foresaw.</summary>
    /// <exception cref="LinuxException">The call failed.</exception>
    public ulong Require(Tracee thread, SyscallNumber number, params ReadOnlySpan<ulong> arguments)
    {
        var result = Call(thread, number, arguments);
        return result is < 0 and > -4096
            ? throw new LinuxException($"{number} inside the target", (Errno)(-result), $"thread {thread.Tid}")
            : (ulong)result;
    }

    /// <summary>Clears the first <paramref name="lengthBytes"/> of <see cref="Data"/>, so that a result is told from an older one.</summary>
    public void ClearData(int lengthBytes) => _memory.Write(Data.Start, new byte[lengthBytes]);

    public byte[] ReadData(int lengthBytes)
    {
        var bytes = new byte[lengthBytes];
        _memory.Read(Data.Start, bytes);
        return bytes;
    }

    /// <summary>Removes the scratch mappings and puts every thread back as it was. Calling it again does nothing.</summary>
    public void Close()
    {
        if (!_code.IsEmpty)
        {
            var main = Enter(_process.MainThread);
            if (!Data.IsEmpty)
                Require(_process.MainThread, SyscallNumber.Munmap, Data.Start.Value, Data.LengthBytes);
            Data = default;
            LeaveAllBut(main);
            Run(main, _syscallInstruction, new VirtualAddress(main.Registers.Rsp), SyscallNumber.Munmap, _code.Start.Value, _code.LengthBytes);
            _code = default;
        }

        LeaveAllBut(null);
    }

    /// <summary><see cref="Close"/>, as far as the target still lives.</summary>
    public void Dispose()
    {
        try
        {
            Close();
        }
        catch (Exception exception) when (exception is TracingException or LinuxException or IOException)
        {
            // The target is gone, or a call failed that had worked before: threads still inside recover by themselves when they are let go.
            _entered.Clear();
            _code = default;
        }
    }

    private void MakeScratch()
    {
        var main = Save(_process.MainThread);
        if (!main.Registers.IsLongMode)
            throw new TracingException(TracingFailure.UnexpectedStop, $"pid {_process.Pid} runs 32-bit code");
        var length = new VirtualAddress(CodeBytes + ((ulong)_frameBytes * (ulong)_process.Threads.Count)).AlignUp(PageSize.Bytes).Value;
        _entered.Add(main.Thread.Tid, main);
        main.Thread.WriteSignalMask(AllSignals);
        var address = Run(main, _syscallInstruction, new VirtualAddress(main.Registers.Rsp), SyscallNumber.Mmap, 0, length, ProtRead | ProtExec, MapPrivateAnonymous, NoDescriptor, 0);
        if (address is < 0 and > -4096)
            throw new LinuxException("mmap inside the target", (Errno)(-address), $"pid {_process.Pid}");
        _code = AddressRange.FromLength(new VirtualAddress((ulong)address), length);
        _memory.Write(_code.Start, Code);
        WriteFrame(main);
        main.Thread.WriteRegisters(RecoveryRegisters(main));

        var data = Require(main.Thread, SyscallNumber.Mmap, 0, PageSize.Bytes, ProtRead | ProtWrite, MapPrivateAnonymous, NoDescriptor, 0);
        Data = AddressRange.FromLength(new VirtualAddress(data), PageSize.Bytes);
    }

    private EnteredThread Enter(Tracee thread)
    {
        if (_entered.TryGetValue(thread.Tid, out var known))
            return known;
        var entered = Save(thread);
        WriteFrame(entered);
        _entered.Add(thread.Tid, entered);
        thread.WriteSignalMask(AllSignals);
        return entered;
    }

    private EnteredThread Save(Tracee thread)
    {
        var registers = thread.ReadRegisters();
        return new EnteredThread(thread, registers, thread.ReadSignalMask(), RseqSection.Find(thread.ReadRseq(), registers, _memory));
    }

    /// <summary>Writes the frame by which the thread finds back by itself.</summary>
    private void WriteFrame(EnteredThread entered)
    {
        entered.Frame = _code.Start + CodeBytes + ((ulong)IndexOf(entered.Thread) * (ulong)_frameBytes);
        var registers = RestartRules.Apply(entered.Registers);
        if (entered.Section is { } section)
            registers.Rip = section.AbortHandler.Value;

        // Flags that sigaltstack(2) refuses; rt_sigreturn ignores the refusal and the thread keeps its own alternate stack.
        var keepAlternateStack = (0UL, uint.MaxValue, 0UL);
        _memory.Write(entered.Frame, SignalFrame.Build(entered.Frame, registers.ToBytes(), entered.Thread.ReadXstate(), entered.SignalMask, keepAlternateStack));
    }

    private int IndexOf(Tracee thread)
    {
        for (var index = 0; index < _process.Threads.Count; index++)
        {
            if (_process.Threads[index] == thread)
                return index;
        }

        throw new ArgumentException($"thread {thread.Tid} is not one of pid {_process.Pid}", nameof(thread));
    }

    /// <summary>Registers with which a thread that is let go leaves through its frame at once.</summary>
    private UserRegisters RecoveryRegisters(EnteredThread entered)
    {
        var registers = entered.Registers;
        registers.Rip = _code.Start.Value + 2;
        registers.Rsp = SignalFrame.StackPointer(entered.Frame).Value;
        registers.OrigRax = ulong.MaxValue;
        return registers;
    }

    private static long Run(EnteredThread entered, VirtualAddress instruction, VirtualAddress stack, SyscallNumber number, params ReadOnlySpan<ulong> arguments)
    {
        var registers = entered.Registers;
        registers.Rip = instruction.Value;
        registers.Rsp = stack.Value;
        registers.Rax = (ulong)number;
        registers.OrigRax = ulong.MaxValue; // in no system call: the kernel must not apply restart rules to these registers
        registers.Rdi = Argument(arguments, 0);
        registers.Rsi = Argument(arguments, 1);
        registers.Rdx = Argument(arguments, 2);
        registers.R10 = Argument(arguments, 3);
        registers.R8 = Argument(arguments, 4);
        registers.R9 = Argument(arguments, 5);
        entered.Thread.WriteRegisters(registers);
        RunToSyscallStop(entered);
        RunToSyscallStop(entered);
        return (long)entered.Thread.ReadRegisters().Rax;
    }

    private static ulong Argument(ReadOnlySpan<ulong> arguments, int index) => index < arguments.Length ? arguments[index] : 0;

    private static void RunToSyscallStop(EnteredThread entered)
    {
        do
        {
            entered.Thread.ContinueToSyscall();
        }
        while (!Arrived(entered, StopKind.Syscall));
    }

    /// <summary>Waits for the next stop; false when it is one to pass over.</summary>
    private static bool Arrived(EnteredThread entered, StopKind wanted)
    {
        var stop = entered.Thread.WaitForNextStop();
        if (stop.Kind == wanted || (wanted == StopKind.Interrupt && stop.Kind == StopKind.Group))
            return true;
        switch (stop.Kind)
        {
            case StopKind.Interrupt or StopKind.Group:
                return false;
            case StopKind.Signal when stop.Signal == ThreadSignal.SIGSTOP:
                entered.HeldBackStop = true;
                return false;
            case StopKind.Gone:
                throw new TracingException(TracingFailure.TargetGone, $"thread {entered.Thread.Tid} was killed while a system call ran on its behalf");
            default:
                throw new TracingException(TracingFailure.UnexpectedStop, $"thread {entered.Thread.Tid} stopped by signal {stop.Signal} while a system call ran on its behalf");
        }
    }

    private void LeaveAllBut(EnteredThread? last)
    {
        foreach (var entered in _entered.Values.Where(entered => entered != last).ToList())
        {
            Leave(entered);
            _entered.Remove(entered.Thread.Tid);
        }
    }

    /// <summary>Brings the thread back to a stop inside the kernel's signal code and puts everything back.</summary>
    private void Leave(EnteredThread entered)
    {
        var thread = entered.Thread;
        if (thread.Stop.Kind == StopKind.Syscall)
        {
            thread.Interrupt();
            do
            {
                thread.Continue();
            }
            while (!Arrived(entered, StopKind.Interrupt));
        }

        if (entered.Section is { } section)
            _memory.WriteWord(section.Field, section.Section.Value);
        thread.WriteRegisters(entered.Registers);
        thread.WriteSignalMask(entered.SignalMask);
        if (entered.HeldBackStop)
            ThreadSignal.SendToThread(_process.Pid, thread.Tid, ThreadSignal.SIGSTOP);
    }

    /// <summary>A <c>syscall</c> instruction in the target: the vDSO has some; without one, any executable mapping.</summary>
    private VirtualAddress FindSyscallInstruction()
    {
        var executable = Maps.Read(_process.Pid).Where(map => map.Protection.HasFlag(MemoryProtection.Execute) && map.Range.Start.Value < PageSize.UserAddressLimit);
        foreach (var map in executable.OrderByDescending(map => map.Path == "[vdso]"))
        {
            var text = new byte[map.Range.LengthBytes];
            if (ProcessVm.Read(_process.Pid, map.Range.Start, text, out var length) != Errno.None)
                continue;
            var offset = text.AsSpan(0, length).IndexOf(Code.AsSpan(0, 2));
            if (offset >= 0)
                return map.Range.Start + (ulong)offset;
        }

        throw new TracingException(TracingFailure.UnexpectedStop, $"pid {_process.Pid} has no syscall instruction in its executable memory");
    }

    /// <summary>A thread that runs calls for us, with what has to be put back.</summary>
    private sealed class EnteredThread(Tracee thread, UserRegisters registers, ulong signalMask, RseqSection? section)
    {
        public Tracee Thread { get; } = thread;

        public UserRegisters Registers { get; } = registers;

        public ulong SignalMask { get; } = signalMask;

        public RseqSection? Section { get; } = section;

        public VirtualAddress Frame { get; set; }

        public bool HeldBackStop { get; set; }
    }
}
