using Snapshots.Images.V1;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>Descriptors that each clone gets its own of: stdio pipes and the channel, known by the object behind them.</summary>
internal static class Externals
{
    private const int HighestStdio = 2;

    /// <summary>Takes the file as an external when its object is one.</summary>
    public static bool TryCapture(CaptureContext context, CapturedFile file)
    {
        if (!context.Externals.TryGetValue(file.Identity, out var role))
            return false;
        // The inode of /dev/null is everybody's: only as stdio it stands for the worker's own input or output.
        if (file.Status.IsCharacterDevice && file.Fd > HighestStdio)
            return false;
        file.Image.External = new External { Role = role, Kind = KindOf(file) };
        return true;
    }

    private static ExternalKind KindOf(CapturedFile file) =>
        file.Status.IsSocket ? ExternalKind.ExternalSocket : file.Status.IsFifo ? ExternalKind.ExternalPipe : ExternalKind.ExternalNull;
}
