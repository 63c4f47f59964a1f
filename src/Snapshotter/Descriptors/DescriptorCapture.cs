using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>
/// Captures the descriptor table of a stopped process.
/// <code>
/// 1. List /proc/PID/fd, read each fdinfo, and find the descriptors that share one open file description (kcmp).
/// 2. Duplicate one descriptor of each description into us (pidfd_getfd) and sort the descriptions by what they are.
/// 3. Each kind asks its descriptions and describes them in the image, or refuses them, every one with its cure.
/// 4. What connects descriptions comes last: pipe ends, socket pairs, epoll interests.
/// </code>
/// Nothing of the target is changed. Refusals go to <see cref="CaptureContext.Refuse"/>; capture goes on behind each.
/// </summary>
public static class DescriptorCapture
{
    /// <summary>O_ASYNC of open(2).</summary>
    private const uint SignalDriven = 0x2000;

    /// <exception cref="LinuxException">The process is gone, or we lack the privilege to look into it.</exception>
    public static void Capture(CaptureContext context)
    {
        var files = new List<CapturedFile>();
        try
        {
            files.AddRange(OpenFileTable.Read(context));
            new Session(context, files).Capture();
        }
        finally
        {
            foreach (var file in files)
                file.Dispose();
        }
    }

    private sealed class Session(CaptureContext context, List<CapturedFile> files)
    {
        private readonly RegularFiles _regular = new(context);
        private readonly Pipes _pipes = new(context);
        private readonly Epolls _epolls = new(context);
        private readonly UnixSockets _unixSockets = new(context);

        public void Capture()
        {
            foreach (var file in files)
            {
                context.Image.OpenFiles.Add(file.Image);
                if ((file.Image.StatusFlags & SignalDriven) != 0)
                    context.Refuse(file.Subject, "signal-driven I/O (O_ASYNC) is switched on", "Clear O_ASYNC before the worker is ready; epoll comes along.");
                CaptureOne(file);
            }
            _pipes.Connect();
            _unixSockets.Connect();
            _epolls.Connect(files);
        }

        private void CaptureOne(CapturedFile file)
        {
            if (file.Status.IsSocket)
                CaptureSocket(file);
            else if (Externals.TryCapture(context, file))
                return;
            else if (file.Link.StartsWith("pipe:[", StringComparison.Ordinal))
                _pipes.Capture(file);
            else if (file.Link.StartsWith("/memfd:", StringComparison.Ordinal))
                MemFds.Capture(context, file);
            else if (file.Link.StartsWith('/'))
                _regular.Capture(file);
            else
                CaptureAnonymous(file);
        }

        private void CaptureAnonymous(CapturedFile file)
        {
            switch (file.Link)
            {
                case "anon_inode:[eventfd]": EventFds.Capture(file); break;
                case "anon_inode:[timerfd]": TimerFds.Capture(context, file); break;
                case "anon_inode:[signalfd]": SignalFds.Capture(context, file); break;
                case "anon_inode:[eventpoll]": _epolls.Capture(file); break;
                case "anon_inode:inotify": Inotifies.Capture(context, file); break;
                default: Unsupported.Refuse(context, file); break;
            }
        }

        private void CaptureSocket(CapturedFile file)
        {
            if (!file.Link.StartsWith("socket:[", StringComparison.Ordinal))
            {
                // The inode of a bound socket opened with O_PATH: a file, not a socket.
                _regular.Capture(file);
                return;
            }
            if (Externals.TryCapture(context, file))
                return;
            var family = SocketKind.Of(file);
            switch (family.Family)
            {
                case SocketKind.Unix: _unixSockets.Capture(file, family); break;
                case SocketKind.Inet or SocketKind.Inet6: InetSockets.Capture(context, file, family); break;
                case SocketKind.Netlink: NetlinkSockets.Capture(context, file, family); break;
                default:
                    context.Refuse(file.Subject, $"a socket of address family {family.Family} cannot be restored", "Close it before the worker is ready.");
                    break;
            }
        }
    }
}
