using Microsoft.Win32.SafeHandles;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Readiness;

/// <summary>A time limit with cancellation, for waits on descriptors.</summary>
public sealed class Deadline(TimeSpan timeout, CancellationToken cancellation)
{
    /// <summary>Cancellation is noticed this often: ppoll(2) does not wait for tokens.</summary>
    private static readonly TimeSpan s_slice = TimeSpan.FromMilliseconds(100);
    private readonly long _end = Environment.TickCount64 + (long)timeout.TotalMilliseconds;

    public CancellationToken Cancellation => cancellation;

    public TimeSpan Left => TimeSpan.FromMilliseconds(Math.Max(0, _end - Environment.TickCount64));

    public bool IsOver => cancellation.IsCancellationRequested || Left == TimeSpan.Zero;

    /// <summary>Waits until <paramref name="descriptor"/> is readable; false when <paramref name="ended"/> became readable without it, or the deadline passed.</summary>
    public bool WaitReadable(SafeFileHandle descriptor, SafeFileHandle ended)
    {
        while (!IsOver)
        {
            var (readable, over) = Poll.AnyReadable(descriptor, ended, Left < s_slice ? Left : s_slice);
            if (readable)
                return true;
            if (over)
                return false;
        }
        return false;
    }

    /// <summary>Waits for <paramref name="pause"/> or until <paramref name="ended"/> is readable; false in the latter case and when the deadline passed.</summary>
    public bool Pause(TimeSpan pause, SafeFileHandle ended) => !Poll.IsReadable(ended, pause) && !IsOver;
}
