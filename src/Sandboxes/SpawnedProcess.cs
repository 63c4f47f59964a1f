using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Sandboxes;

/// <summary>A child of ours inside a sandbox. Its owner reaps it: <see cref="WaitForExit"/>, or <see cref="Dispose"/>, which kills it first.</summary>
public sealed class SpawnedProcess : IDisposable
{
    private const int SIGKILL = 9;
    private readonly Lock _gate = new();
    private ExitStatus? _exit;

    public SpawnedProcess(int hostPid, SafeFileHandle pidFd)
    {
        HostPid = hostPid;
        PidFd = pidFd;
    }

    /// <summary>In our PID namespace.</summary>
    public int HostPid { get; }

    /// <summary>Readable (poll(2)) once the process ended.</summary>
    public SafeFileHandle PidFd { get; }

    /// <summary>Blocks until it ended; reaps it the first time and remembers how it ended.</summary>
    public ExitStatus WaitForExit()
    {
        lock (_gate)
            return _exit ??= WaitId.ForExit(PidFd, Subject);
    }

    /// <summary>How it ended, null while it runs.</summary>
    public ExitStatus? TryGetExit()
    {
        lock (_gate)
            return _exit ??= WaitId.TryForExit(PidFd, Subject);
    }

    /// <summary>Sends SIGKILL; nothing happens when it ended already.</summary>
    public void Kill() => _ = Pidfd.SendSignal(PidFd, SIGKILL);

    public void Dispose()
    {
        Kill();
        _ = WaitForExit();
        PidFd.Dispose();
    }

    private string Subject => string.Create(CultureInfo.InvariantCulture, $"pid {HostPid}");
}
