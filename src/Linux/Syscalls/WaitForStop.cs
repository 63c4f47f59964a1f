// waitid(2), uapi linux/wait.h, asm-generic/siginfo.h; __WALL with waitid since 4.7.
namespace Snapshots.Linux.Syscalls;

/// <summary>What waitid(2) tells a tracer about one thread.</summary>
public enum StopWait
{
    /// <summary>Still running.</summary>
    Running,

    /// <summary>Stopped; the status says why.</summary>
    Stopped,

    /// <summary>It ended. Its exit status is left for whoever is its parent.</summary>
    Gone,
}

/// <summary>waitid(2) for the stops of a traced thread; never reaps, so that a dying target's exit status is not stolen from its parent.</summary>
/// <remarks>
/// The kernel tells a stop once, to whichever thread of ours waits: no other component of this process may call waitpid(2) for the target while it is
/// traced. System.Diagnostics.Process does, on every SIGCHLD, for children that it started itself: never trace one of those.
/// </remarks>
public static unsafe class WaitForStop
{
    private const int P_PID = 1;
    private const int WNOHANG = 1;
    private const int WSTOPPED = 2;
    private const int WEXITED = 4;
    private const int WNOWAIT = 0x01000000;
    private const int CLD_TRAPPED = 4;
    private const int SiCodeOffset = 8;
    private const int WALL = 0x40000000;
    private const int SigInfoBytes = 128;
    private const int SiPidOffset = 16;
    private const int SiStatusOffset = 24;

    /// <param name="tid">A thread traced by the calling thread.</param>
    /// <param name="status">The signal in the low 8 bits, the ptrace event above them.</param>
    public static StopWait Poll(int tid, out int status) => Wait(tid, WNOHANG, out status);

    /// <summary>Waits until the thread stops or ends.</summary>
    public static StopWait Block(int tid, out int status) => Wait(tid, 0, out status);

    /// <summary>Waits until the thread stops or ends; <see cref="Block"/> goes on waiting for one that has ended and was not reaped.</summary>
    public static StopWait BlockForStopOrEnd(int tid, out int status)
    {
        // Left to be told again: a stop is then taken, an end is not.
        var told = Wait(tid, WEXITED | WNOWAIT, out status);
        return told == StopWait.Stopped ? Poll(tid, out status) : told;
    }

    private static StopWait Wait(int tid, int flags, out int status)
    {
        var info = stackalloc byte[SigInfoBytes];
        while (true)
        {
            new Span<byte>(info, SigInfoBytes).Clear();
            var result = RawSyscall.Call(SyscallNumber.Waitid, P_PID, tid, (long)info, WSTOPPED | WALL | flags);
            var errno = RawSyscall.ErrnoOf(result);
            if (errno == Errno.EINTR)
                continue;
            status = *(int*)(info + SiStatusOffset);
            if (errno == Errno.ECHILD)
                return StopWait.Gone;
            RawSyscall.ThrowIfFailed(result, "waitid", $"thread {tid}");
            if (*(int*)(info + SiPidOffset) == 0)
                return StopWait.Running;
            // CLD_TRAPPED and CLD_STOPPED are stops; what is below are ends.
            return *(int*)(info + SiCodeOffset) >= CLD_TRAPPED ? StopWait.Stopped : StopWait.Gone;
        }
    }
}
