using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Tracing;

/// <summary>
/// Looks at a process once, while its memory is there: when somebody asks, or when it is about to end, whichever comes first. A worker that has
/// done its work ends at once, and whoever hears of its answer first comes too late.
/// </summary>
/// <remarks>
/// Its main thread is traced meanwhile (TracerPid shows it) and stops only for the look, for signals, which are handed on, and at its end. A thread of
/// its own waits for that; it ends with the look or with the process. Thread-safe.
/// </remarks>
public sealed class LastLook
{
    private const int SIGCONT = 18;
    private static readonly TimeSpan s_patience = TimeSpan.FromMilliseconds(200);

    private readonly int _pid;
    private readonly SafeFileHandle _pidFd;
    private readonly Action _look;
    private readonly TimeSpan _soonEnough;
    private readonly ManualResetEventSlim _begun = new();
    private readonly ManualResetEventSlim _done = new();
    private readonly long _begunAt = Stopwatch.GetTimestamp();
    private Action? _ended;
    private volatile bool _wanted;

    private LastLook(int pid, SafeFileHandle pidFd, Action look, TimeSpan soonEnough, Action ended)
    {
        _ended = ended;
        _pid = pid;
        _pidFd = pidFd;
        _look = look;
        _soonEnough = soonEnough;
    }

    /// <summary>Begins to watch; returns when the process is watched, or may not be traced, which ends it.</summary>
    /// <param name="pidFd">Of <paramref name="pid"/>; may be closed at any time.</param>
    /// <param name="look">Called at most once, on a thread of its own that traces the stopped main thread. What it throws is dropped with the look.</param>
    /// <param name="soonEnough">An end that comes later than this is not looked at.</param>
    /// <param name="ended">Called once, after the look if there was one, and before the process may go on to its end.</param>
    public static LastLook Begin(int pid, SafeFileHandle pidFd, Action look, TimeSpan soonEnough, Action ended)
    {
        var watch = new LastLook(pid, pidFd, look, soonEnough, ended);
        var thread = new Thread(watch.Run) { IsBackground = true, Name = $"last look {pid}" };
        thread.Start();
        watch._begun.Wait();
        return watch;
    }

    /// <summary>Looks now, and returns when that is done. A process that ends meanwhile is looked at or not.</summary>
    public void Now()
    {
        _wanted = true;
        try
        {
            // Whatever a signal is to a traced thread, it stops for it first; this one is taken away again.
            if (!_done.IsSet)
                _ = Pidfd.SendSignal(_pidFd, SIGCONT); // ESRCH: it has ended.
        }
        catch (ObjectDisposedException)
        {
            return;
        }
        // One that blocks the signal is looked at when it ends.
        _done.Wait(s_patience);
    }

    private void Run()
    {
        try
        {
            var seized = Ptrace.Seize(_pid, Ptrace.O_TRACEEXIT) == Errno.None;
            _begun.Set();
            if (seized)
                Watch();
        }
        catch (Exception gone) when (gone is LinuxException or ObjectDisposedException or IOException or UnauthorizedAccessException)
        {
            // It ended under our eyes.
        }
        finally
        {
            _begun.Set();
            End();
        }
    }

    private void End()
    {
        Interlocked.Exchange(ref _ended, null)?.Invoke();
        _done.Set();
    }

    private void Watch()
    {
        while (WaitForStop.BlockForStopOrEnd(_pid, out var status) == StopWait.Stopped)
        {
            var stop = StopEvent.FromStatus(status);
            if (stop.Kind == StopKind.Exit || (stop is { Kind: StopKind.Signal, Signal: SIGCONT } && _wanted))
            {
                if (_wanted || Stopwatch.GetElapsedTime(_begunAt) < _soonEnough)
                    _look();
                End();
                Ptrace.Detach(_pid);
                return;
            }
            _ = stop.Kind == StopKind.Group ? Ptrace.Listen(_pid) : Ptrace.Continue(_pid, stop.Kind == StopKind.Signal ? stop.Signal : 0);
        }
    }
}
