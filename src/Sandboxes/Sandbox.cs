using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Sandboxes;

/// <summary>
/// A set of namespaces held by a tiny init, PID 1 in it. Ending the init ends every process inside; what was born inside as our child must be
/// reaped by us (the kernel keeps the init until then), so owners reap their processes before or while they dispose of the sandbox.
/// </summary>
public sealed class Sandbox : IDisposable
{
    private const int SIGKILL = 9;
    private readonly SafeFileHandle _lifeline;
    private readonly Lock _keeping = new();
    // The init's own numbers: the kernel gives out the lowest that is free, so we know them without asking.
    private readonly SortedSet<int> _freeNumbers = [];
    private int _nextNumber = 1;
    private int _disposed;

    internal Sandbox(int initPid, SafeFileHandle pidFd, SafeFileHandle lifeline)
    {
        InitPid = initPid;
        PidFd = pidFd;
        _lifeline = lifeline;
    }

    /// <summary>The init's pid in our PID namespace.</summary>
    public int InitPid { get; }

    /// <summary>A pidfd of the init; setns(2) takes it for any of the namespaces.</summary>
    public SafeFileHandle PidFd { get; }

    /// <summary>Opens the network namespace; valid as long as the handle is open, also after the sandbox is gone.</summary>
    public SafeFileHandle OpenNetworkNamespace() =>
        File.OpenHandle(string.Create(CultureInfo.InvariantCulture, $"/proc/{InitPid}/ns/net"));

    /// <summary>
    /// Gives the init a copy of a descriptor, which stays open until everything inside has ended, whatever becomes of us.
    /// </summary>
    /// <returns>For <see cref="Release"/>.</returns>
    /// <exception cref="LinuxException">EPIPE, ECONNRESET: the sandbox has ended.</exception>
    public int Keep(SafeFileHandle descriptor)
    {
        lock (_keeping)
        {
            Send(KeepOrder.None, descriptor);
            if (_freeNumbers.Count == 0)
                return _nextNumber++;
            var number = _freeNumbers.Min;
            _freeNumbers.Remove(number);
            return number;
        }
    }

    /// <summary>Lets the init close what it keeps.</summary>
    /// <exception cref="LinuxException">EPIPE, ECONNRESET: the sandbox has ended.</exception>
    public void Release(int kept)
    {
        lock (_keeping)
        {
            Send((ulong)kept);
            _freeNumbers.Add(kept);
        }
    }

    /// <summary>Kills everything inside, at once.</summary>
    public void Kill() => _ = Pidfd.SendSignal(PidFd, SIGKILL); // ESRCH: it ended already, and with it all that was inside.

    /// <summary>
    /// Kills everything inside and reaps those of our children in its PID namespace that have no owner; for failure paths, where a process was
    /// born and its pid never reached us. It looks at each of our children. Nobody else may wait for a process of this sandbox meanwhile.
    /// </summary>
    public void ReapStrays()
    {
        var init = PidNamespaceOf(InitPid);
        var children = ChildProcesses.Of(Environment.ProcessId)
            .Where(pid => pid != InitPid && init is not null && PidNamespaceOf(pid) == init)
            .ToList();
        Kill();
        foreach (var pid in children)
        {
            using var child = Pidfd.Open(pid);
            _ = Pidfd.SendSignal(child, SIGKILL); // ESRCH: it ended already, and is still ours to reap.
            _ = WaitId.ForExit(child, string.Create(CultureInfo.InvariantCulture, $"pid {pid} in sandbox {InitPid}"));
        }
    }

    private void Send(ulong close, params ReadOnlySpan<SafeFileHandle> kept)
    {
        Span<byte> order = stackalloc byte[KeepOrder.Bytes];
        KeepOrder.Encode(close, order);
        var errno = SocketMessage.Send(_lifeline, order, kept);
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, string.Create(CultureInfo.InvariantCulture, $"sandbox init {InitPid}"));
    }

    private static string? PidNamespaceOf(int pid) =>
        ReadLink.Read(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/ns/pid"), out var target) == Errno.None ? target : null;

    /// <summary>Kills everything inside and reaps the init. Blocks until our own children inside are reaped by their owners.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        Kill();
        _lifeline.Dispose();
        _ = WaitId.ForExit(PidFd, string.Create(CultureInfo.InvariantCulture, $"sandbox init {InitPid}"));
        PidFd.Dispose();
    }
}
