using Snapshots.Images.V1;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>timerfd_create(2): clock, remaining time, interval and unread expirations, from fdinfo.</summary>
internal static class TimerFds
{
    /// <summary>TFD_TIMER_CANCEL_ON_SET.</summary>
    private const uint CancelOnSet = 2;

    public static void Capture(CaptureContext context, CapturedFile file)
    {
        var info = file.Info.TimerFd ?? throw new InvalidDataException($"{file.Subject}: fdinfo does not show the state of the timerfd");
        if ((info.SettimeFlags & CancelOnSet) != 0)
            context.Refuse(file.Subject, "the timer watches for changes of the clock (TFD_TIMER_CANCEL_ON_SET)", "Disarm it before the worker is ready.");
        file.Image.TimerFd = new TimerFd
        {
            Clock = info.Clock,
            SettimeFlags = info.SettimeFlags,
            // A periodic timer that has expired and not been read is not running until the read; its next beat is at most one interval away.
            ValueNs = info.ValueNanoseconds == 0 && info.Ticks != 0 ? info.IntervalNanoseconds : info.ValueNanoseconds,
            IntervalNs = info.IntervalNanoseconds,
            Ticks = info.Ticks,
        };
    }
}
