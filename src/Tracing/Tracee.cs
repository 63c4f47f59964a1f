using Snapshots.Linux;
using Snapshots.Linux.Layouts;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Tracing;

/// <summary>One thread that this tracer thread has seized. It does not stop by itself: see <see cref="StoppedProcess"/>.</summary>
public sealed class Tracee
{
    internal Tracee(int tid) => Tid = tid;

    /// <summary>Thread id in our PID namespace.</summary>
    public int Tid { get; }

    /// <summary>The last stop; meaningful once <see cref="IsStopped"/>.</summary>
    public StopEvent Stop { get; private set; }

    public bool IsStopped { get; private set; }

    /// <summary>Attaches to the thread; it runs on.</summary>
    /// <returns>Null when the thread is gone.</returns>
    /// <exception cref="TracingException">It may not be traced, or is traced already.</exception>
    internal static Tracee? Seize(int pid, int tid)
    {
        var errno = Ptrace.Seize(tid, Ptrace.O_TRACESYSGOOD);
        return errno switch
        {
            Errno.None => new Tracee(tid),
            Errno.ESRCH => null,
            _ => throw Refused(pid, tid, errno),
        };
    }

    /// <summary>Asks the thread to stop.</summary>
    internal void Interrupt() => Ptrace.Interrupt(Tid);

    /// <summary>Takes a stop that has happened, if one has.</summary>
    internal StopWait Poll()
    {
        var state = WaitForStop.Poll(Tid, out var status);
        Take(state, status);
        return state;
    }

    /// <summary>Waits for the next stop, or the end, of a thread that was told to continue.</summary>
    internal StopEvent WaitForNextStop()
    {
        Take(WaitForStop.Block(Tid, out var status), status);
        return Stop;
    }

    /// <summary>Lets the thread continue, delivering the signal it had stopped for.</summary>
    internal void ContinueDelivering()
    {
        var signal = Stop.Kind == StopKind.Signal ? Stop.Signal : 0;
        IsStopped = false;
        Ptrace.Continue(Tid, signal);
    }

    internal void Continue()
    {
        IsStopped = false;
        Check(Ptrace.Continue(Tid, 0), "PTRACE_CONT");
    }

    internal void ContinueToSyscall()
    {
        IsStopped = false;
        Check(Ptrace.ContinueToSyscall(Tid, 0), "PTRACE_SYSCALL");
    }

    /// <summary>Lets the thread go. A thread that died meanwhile is no error: there is nothing to let go.</summary>
    internal void Detach() => Ptrace.Detach(Tid);

    public UserRegisters ReadRegisters()
    {
        Check(Ptrace.TryGetRegisters(Tid, out var registers), "PTRACE_GETREGSET");
        return registers;
    }

    internal void WriteRegisters(in UserRegisters registers) => Check(Ptrace.TrySetRegisters(Tid, registers), "PTRACE_SETREGSET");

    public byte[] ReadXstate() => Ptrace.GetXstate(Tid);

    public ulong ReadSignalMask() => Ptrace.GetSignalMask(Tid);

    internal void WriteSignalMask(ulong mask) => Check(Ptrace.SetSignalMask(Tid, mask), "PTRACE_SETSIGMASK");

    public RseqConfiguration ReadRseq() => Ptrace.GetRseq(Tid);

    /// <summary>Pending signals of this thread, siginfo_t each, oldest first.</summary>
    public IReadOnlyList<byte[]> ReadPendingSignals() => Ptrace.PeekSignals(Tid, ofProcess: false);

    /// <summary>Pending signals of the whole process.</summary>
    public IReadOnlyList<byte[]> ReadPendingSignalsOfProcess() => Ptrace.PeekSignals(Tid, ofProcess: true);

    private void Take(StopWait state, int status)
    {
        if (state == StopWait.Running)
            return;
        IsStopped = state == StopWait.Stopped;
        Stop = IsStopped ? StopEvent.FromStatus(status) : new StopEvent(StopKind.Gone, 0);
    }

    private void Check(Errno errno, string call)
    {
        if (errno == Errno.ESRCH)
            throw new TracingException(TracingFailure.TargetGone, $"thread {Tid} ended while it was being traced", new LinuxException(call, errno, $"thread {Tid}"));
        if (errno != Errno.None)
            throw new LinuxException(call, errno, $"thread {Tid}");
    }

    private static TracingException Refused(int pid, int tid, Errno errno)
    {
        var cause = new LinuxException("PTRACE_SEIZE", errno, $"thread {tid}");
        var tracer = Linux.Proc.ProcStatus.Read(pid, tid).TracerPid;
        return tracer != 0
            ? new TracingException(TracingFailure.AlreadyTraced, $"thread {tid} of pid {pid} is traced by pid {tracer} already: end that debugger first", cause)
            : new TracingException(TracingFailure.NotPermitted, $"thread {tid} of pid {pid} may not be traced: run as root with CAP_SYS_PTRACE, and check kernel.yama.ptrace_scope", cause);
    }
}
