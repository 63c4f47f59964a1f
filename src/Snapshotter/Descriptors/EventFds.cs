using Snapshots.Images.V1;
using Snapshots.Linux.Proc;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>eventfd(2): counter and mode, from fdinfo.</summary>
internal static class EventFds
{
    public static void Capture(CapturedFile file)
    {
        var info = file.Info.EventFd ?? throw new InvalidDataException($"{file.Subject}: fdinfo does not show the counter of the eventfd");
        file.Image.EventFd = new EventFd { Counter = info.Counter, Semaphore = info.Semaphore };
    }
}
