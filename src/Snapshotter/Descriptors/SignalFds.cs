using Snapshots.Images.V1;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>signalfd(2): the accepted signals, from fdinfo. What it would deliver is pending in the process, not in the descriptor.</summary>
internal static class SignalFds
{
    public static void Capture(CaptureContext context, CapturedFile file)
    {
        if (file.Info.SignalMask is { } mask)
            file.Image.SignalFd = new SignalFd { Mask = mask };
        else
            context.Refuse(file.Subject, "the kernel does not show the mask of this signalfd", "Close it before the worker is ready.");
    }
}
