using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Paging;
using Snapshots.RestorePool.WorkingSets;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Clones;

/// <summary>
/// A running clone: its first process, its sandbox, and our ends of its stdio and channel. <see cref="Dispose"/> kills it with everything it
/// started and releases all of it.
/// </summary>
/// <remarks>Thread-safe, except that our ends may be used by one reader and one writer each.</remarks>
public sealed class Clone : IDisposable
{
    private readonly SpawnedProcess _process;
    private readonly Sandbox _sandbox;
    private readonly CloneRequest _request;
    private readonly WorkingSetRecorder _recorder;
    private readonly LazyClone? _lazy;
    private readonly IDisposable? _placeholders;
    private readonly Lock _ending = new();
    private bool _disposed;

    internal Clone(CloneRequest request, long generation, WorkingSetRecorder recorder, SpawnedProcess process, Sandbox sandbox, LazyClone? lazy, CloneEnds ends, IDisposable? placeholders)
    {
        _recorder = recorder;
        _request = request;
        Generation = generation;
        _process = process;
        _sandbox = sandbox;
        _lazy = lazy;
        _placeholders = placeholders;
        Stdin = ends.Take(ExternalRole.Stdin);
        Stdout = ends.Take(ExternalRole.Stdout);
        Stderr = ends.Take(ExternalRole.Stderr);
        Channel = ends.Take(ExternalRole.Channel);
    }

    public string Id => _request.Id;

    /// <summary>Different for every clone of the engine, ascending.</summary>
    public long Generation { get; }

    /// <summary>Of its first process, in our PID namespace.</summary>
    public int HostPid => _process.HostPid;

    /// <summary>Readable (poll(2)) when the first process has ended.</summary>
    public SafeFileHandle PidFd => _process.PidFd;

    /// <summary>When the clone was asked for, in nanoseconds of CLOCK_MONOTONIC.</summary>
    public required long RequestedNanoseconds { get; init; }

    public required CloneTimings Timings { get; init; }

    /// <summary>Set when it is watched for what it touches.</summary>
    internal WatchedClone? Watched { get; init; }

    /// <summary>Write end of its standard input; null when the snapshot's was not ours to replace.</summary>
    public SafeFileHandle? Stdin { get; }

    /// <summary>Read end of its standard output.</summary>
    public SafeFileHandle? Stdout { get; }

    /// <summary>Read end of its standard error.</summary>
    public SafeFileHandle? Stderr { get; }

    /// <summary>Our end of its channel, a unix stream socket; the payload is on its way already.</summary>
    public SafeFileHandle? Channel { get; }

    /// <summary>Its memory was not complete when it was born, and may still arrive page by page.</summary>
    public bool IsLazy => _lazy is not null;

    /// <summary>Why the engine ended it: memory that could not be delivered. Null when it did not.</summary>
    public string? Failure => _lazy?.Failure;

    /// <summary>Its network namespace, to connect to what it listens on.</summary>
    public SafeFileHandle OpenNetworkNamespace() => _sandbox.OpenNetworkNamespace();

    /// <summary>Gives a clone that was launched with <see cref="CloneRequest.WithholdRequest"/> its payload.</summary>
    /// <exception cref="InvalidOperationException">Its request was not withheld, or it has no channel.</exception>
    /// <exception cref="ArgumentException">The payload is not JSON or too large.</exception>
    /// <exception cref="LinuxException">EPIPE: the clone has closed its channel.</exception>
    public void SendRequest(string? payloadJson)
    {
        if (!_request.WithholdRequest || Channel is null)
            throw new InvalidOperationException(Channel is null ? $"clone {Id} has no channel" : $"clone {Id} was given its request at its launch");
        var errno = SocketMessage.Send(Channel, ChannelMessage.Encode(_request with { PayloadJson = payloadJson }, Generation));
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, $"channel of clone {Id}");
    }

    /// <summary>
    /// Says that it has done what clones of its snapshot are for, while it still runs: the first ones are looked at for the pages that all of them
    /// touch (some milliseconds), the others cost nothing.
    /// </summary>
    public void NoteAnswered()
    {
        if (_lazy is not null)
            _recorder.NoteReadOrder(_lazy.Memory.NoteAnswered());
        else if (Watched is not null)
            Watched.NoteAnswered();
        else
            _recorder.Sample(HostPid, PidFd);
    }

    /// <summary>Blocks until the first process has ended.</summary>
    public ExitStatus WaitForExit() => _process.WaitForExit();

    /// <summary>How the first process ended; null while it runs.</summary>
    public ExitStatus? TryGetExit() => _process.TryGetExit();

    /// <summary>
    /// Memory of all its processes: the first one, what that has started, and what those have left to the sandbox's init; not of the init itself,
    /// which has next to none. Null when the first process has ended. Stops nobody.
    /// </summary>
    public ProcessMemory? ReadMemory()
    {
        var pids = new HashSet<int> { HostPid };
        pids.UnionWith(ChildProcesses.DescendantsOf(HostPid));
        pids.UnionWith(ChildProcesses.DescendantsOf(_sandbox.InitPid));
        var memory = ProcessMemory.Sum(pids);
        try
        {
            // Its pid is its own until it is reaped, which comes after its end: if it runs now, nothing else was read in its place.
            return memory.Processes == 0 || Poll.IsReadable(PidFd, TimeSpan.Zero) ? null : memory;
        }
        catch (ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>Kills every process of the clone; nothing happens when it was disposed of already, by somebody who saw its first process end.</summary>
    public void Kill()
    {
        // Whoever watches the clone may dispose of it as soon as the first of the two signals has had its effect.
        lock (_ending)
        {
            if (_disposed)
                return;
            _process.Kill();
            _sandbox.Kill();
        }
    }

    public void Dispose()
    {
        lock (_ending)
        {
            if (_disposed)
                return;
            Kill();
            _disposed = true;
        }
        _process.Dispose();
        _sandbox.Dispose();
        // After all of its processes: a process whose missing pages nobody looks after reads zeros.
        _lazy?.Dispose();
        _placeholders?.Dispose();
        Stdin?.Dispose();
        Stdout?.Dispose();
        Stderr?.Dispose();
        Channel?.Dispose();
    }
}
