using System.Diagnostics;
using System.Globalization;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Tracing;

/// <summary>
/// A process of which every thread is stopped, and stays so until <see cref="Resume"/>, <see cref="Kill"/> or <see cref="Dispose"/>.
/// Lives and dies on one OS thread (<see cref="TracerThread"/>).
/// </summary>
/// <remarks>
/// <code>
/// Stop(pid):
///   1. List /proc/PID/task; PTRACE_SEIZE and PTRACE_INTERRUPT what is new. Nothing new: done.
///   2. Wait for the stop of each. A thread that stopped because a signal is about to be delivered gets the signal and is waited
///      for again: the requested stop comes right behind the delivery. A group stop (job control) is as good as ours.
///   3. Threads made meanwhile by threads that had not stopped yet appear in the next listing: repeat from 1.
/// </code>
/// PTRACE_O_EXITKILL is not set: when the tracer dies the kernel lets every thread go and the target runs on.
/// </remarks>
public sealed class StoppedProcess : IDisposable
{
    /// <summary>How long a thread may take to stop. Longer means an uninterruptible sleep: vfork(2), a dead network file system.</summary>
    public static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(5);

    private readonly Dictionary<int, Tracee> _threads = [];
    private readonly long _stoppedAt = Stopwatch.GetTimestamp();
    private readonly int _ownerThread = Environment.CurrentManagedThreadId;
    private bool _ended;

    private StoppedProcess(int pid) => Pid = pid;

    /// <summary>The process in our PID namespace.</summary>
    public int Pid { get; }

    /// <summary>All threads, the main thread first, then by id.</summary>
    public IReadOnlyList<Tracee> Threads { get; private set; } = [];

    public Tracee MainThread => Threads[0];

    /// <summary>Since just before the first thread was asked to stop.</summary>
    public TimeSpan StoppedFor => Stopwatch.GetElapsedTime(_stoppedAt);

    /// <summary>Stops every thread of the process.</summary>
    /// <exception cref="TracingException">It cannot be traced or stopped; it runs on as it was.</exception>
    public static StoppedProcess Stop(int pid)
    {
        var process = new StoppedProcess(pid);
        try
        {
            process.StopAll();
            return process;
        }
        catch
        {
            process.Resume();
            throw;
        }
    }

    /// <summary>Lets every thread go. Calling it again does nothing.</summary>
    public void Resume()
    {
        if (_ended)
            return;
        RequireOwner();
        _ended = true;
        foreach (var thread in _threads.Values.Where(thread => thread.IsStopped))
            thread.Detach();
    }

    /// <summary>Kills the process in the stop it is in: no instruction of it runs any more. Its parent reaps it.</summary>
    public void Kill()
    {
        if (_ended)
            return;
        RequireOwner();
        _ended = true;
        ThreadSignal.SendToProcess(Pid, ThreadSignal.SIGKILL);
    }

    /// <summary>Lets the target run on, unless <see cref="Resume"/> or <see cref="Kill"/> decided already.</summary>
    public void Dispose() => Resume();

    private void StopAll()
    {
        var deadline = Stopwatch.GetTimestamp() + (long)(StopTimeout.TotalSeconds * Stopwatch.Frequency);
        while (SeizeNewThreads())
        {
            foreach (var thread in _threads.Values.ToList())
                WaitUntilStopped(thread, deadline);
        }

        if (!_threads.TryGetValue(Pid, out var main))
            throw new TracingException(TracingFailure.TargetGone, $"pid {Pid} ended before it could be stopped");
        Threads = [main, .. _threads.Values.Where(thread => thread != main).OrderBy(thread => thread.Tid)];
    }

    /// <summary>Attaches to threads not known yet; false when there was none.</summary>
    private bool SeizeNewThreads()
    {
        var found = false;
        foreach (var tid in ListThreads().Where(tid => !_threads.ContainsKey(tid)))
        {
            if (Tracee.Seize(Pid, tid) is not { } thread)
                continue;
            _threads.Add(tid, thread);
            thread.Interrupt();
            found = true;
        }

        return found;
    }

    private List<int> ListThreads()
    {
        try
        {
            return [.. Directory.EnumerateDirectories($"/proc/{Pid}/task").Select(path => int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture))];
        }
        catch (DirectoryNotFoundException exception)
        {
            throw new TracingException(TracingFailure.TargetGone, $"there is no process with pid {Pid}", exception);
        }
    }

    private void WaitUntilStopped(Tracee thread, long deadline)
    {
        while (!(thread.IsStopped && thread.Stop.Kind is StopKind.Interrupt or StopKind.Group))
        {
            switch (PollUntil(thread, deadline))
            {
                case StopWait.Gone:
                    _threads.Remove(thread.Tid);
                    return;
                case StopWait.Running:
                    throw new TracingException(
                        TracingFailure.CannotStop,
                        $"thread {thread.Tid} of pid {Pid} did not stop within {StopTimeout.TotalSeconds} s: it sleeps uninterruptibly in the kernel (vfork(2), a file system that does not answer); wait until it is done and try again");
            }

            if (thread.Stop.Kind is StopKind.Signal or StopKind.Syscall)
                thread.ContinueDelivering();
        }
    }

    /// <summary>waitid(2) takes no deadline and a thread in vfork never stops: so poll, at first without sleeping, since a stop takes microseconds.</summary>
    private static StopWait PollUntil(Tracee thread, long deadline)
    {
        for (var round = 0; ; round++)
        {
            var state = thread.Poll();
            if (state != StopWait.Running || Stopwatch.GetTimestamp() > deadline)
                return state;
            if (round < 100)
                Thread.Yield();
            else
                Thread.Sleep(1);
        }
    }

    private void RequireOwner()
    {
        if (Environment.CurrentManagedThreadId != _ownerThread)
            throw new InvalidOperationException("a stopped process belongs to the thread that stopped it");
    }
}
