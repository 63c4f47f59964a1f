using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Paging;
using Snapshots.RestorePool.Programs;
using Snapshots.RestorePool.Templates;
using Snapshots.RestorePool.WorkingSets;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Clones;

/// <summary>
/// A clone that was born and has run no application code: a fork of its template in a sandbox, with all its threads, that waits for its start
/// order. Nothing in it depends on the time or on whoever will ask for it, so it may wait as long as the host has memory for its page tables.
/// </summary>
/// <remarks>
/// Not thread-safe. It owns its process and sandbox until <see cref="Start"/> hands them to the clone; <see cref="Dispose"/> ends both. It also
/// ends by itself when our end of its control socket closes, so none outlives us.
/// </remarks>
internal sealed class ParkedClone : IDisposable
{
    private static readonly TimeSpan s_startTimeout = TimeSpan.FromSeconds(60);

    private readonly Template _template;
    private readonly SafeFileHandle _control;
    private readonly Sandbox _sandbox;
    private readonly SpawnedProcess _process;
    private readonly LazyClone? _lazy;
    private long _clockOffsetNanoseconds;
    private bool _handedOver;
    private WatchedClone? _watched;

    private ParkedClone(Template template, Sandbox sandbox, SafeFileHandle control, SpawnedProcess process, LazyClone? lazy)
    {
        _lazy = lazy;
        _template = template;
        _sandbox = sandbox;
        _control = control;
        _process = process;
    }

    /// <summary>Forks one from <paramref name="template"/>; returns when it exists, not when it waits.</summary>
    /// <param name="sandbox">Becomes its own, also when this throws.</param>
    /// <param name="startWith">The clone's ends, when somebody wants it already: its start order then lies there before it is born, and it does not wait.</param>
    /// <exception cref="CloneStartException">The kernel refused the fork; nothing is left.</exception>
    /// <exception cref="HuskDiedException">The template is gone; nothing is left.</exception>
    /// <param name="request">What is wanted of it, when somebody wants it already.</param>
    public static ParkedClone Fork(Template template, Sandbox sandbox, CloneEnds? startWith, CloneRequest? request)
    {
        SafeFileHandle? control = null;
        var lazy = template.Lazy is { } memory ? new LazyClone(sandbox, memory) : null;
        try
        {
            (control, var theirs) = SocketPair.SequentialPackets("control socket of a clone");
            using (theirs)
            {
                SocketMessage.SetReceiveTimeout(control, s_startTimeout);
                var clockOffset = 0L;
                // One whose memory is missing, or that is to be watched, must not run before somebody looks after it: its order comes later.
                var orderLater = lazy is not null || request is { EndsWithAnswer: true };
                if (!orderLater && startWith is not null)
                    SendFirst(template, control, startWith, out clockOffset);
                var process = template.Fork(sandbox, theirs, inBackground: startWith is null, lazy);
                var born = new ParkedClone(template, sandbox, control, process, lazy);
                if (orderLater)
                    born.LookAfter(request, startWith, out clockOffset);
                born._clockOffsetNanoseconds = clockOffset;
                return born;
            }
        }
        catch
        {
            control?.Dispose();
            // A template that died between its fork and its report leaves a child of ours that nobody knows.
            sandbox.ReapStrays();
            sandbox.Dispose();
            lazy?.Dispose();
            throw;
        }
    }

    /// <summary>In our PID namespace; the clone's own once it is started.</summary>
    public int HostPid => _process.HostPid;

    /// <summary>Whether it can still be started: one that failed has reported, and one that died has closed its socket.</summary>
    public bool IsAlive => !Poll.IsReadable(_control, TimeSpan.Zero);

    /// <summary>Starts one that waits: sends its start order, and awaits its first step.</summary>
    /// <param name="placeholders">The files beneath the sockets that it mounts; the clone's when this returns.</param>
    /// <exception cref="CloneStartException">It failed to start; nothing of it is left.</exception>
    public Clone Start(CloneRequest request, long generation, long requestedNanoseconds, CloneEnds ends, IDisposable? placeholders)
    {
        Watch(request);
        // A peer that is gone has said why, or its exit status does.
        if (Send(_template, _control, ends, out _clockOffsetNanoseconds) is not (Errno.None or Errno.EPIPE or Errno.ECONNRESET) and var errno)
        {
            Dispose();
            throw new LinuxException("sendmsg", errno, Subject);
        }
        var times = AwaitRunning();
        return HandOver(request, generation, requestedNanoseconds, CloneTimings.OfParked(requestedNanoseconds, times), ends, placeholders);
    }

    /// <summary>Awaits the first step of one that was forked with its start order.</summary>
    /// <exception cref="CloneStartException">It failed to start; nothing of it is left.</exception>
    public Clone AwaitStart(CloneRequest request, long generation, long requestedNanoseconds, CloneEnds ends, IDisposable? placeholders)
    {
        var times = AwaitRunning();
        return HandOver(request, generation, requestedNanoseconds, CloneTimings.OfFork(requestedNanoseconds, times), ends, placeholders);
    }

    public void Dispose()
    {
        _control.Dispose();
        if (_handedOver)
            return;
        _handedOver = true;
        _process.Dispose();
        _sandbox.Dispose();
        _lazy?.Dispose();
    }

    private string Subject => string.Create(CultureInfo.InvariantCulture, $"clone of {_template.Name}, pid {_process.HostPid}");

    private void LookAfter(CloneRequest? request, CloneEnds? startWith, out long clockOffset)
    {
        clockOffset = 0;
        try
        {
            _lazy?.AwaitBirth();
            Watch(request);
            if (startWith is not null)
                SendFirst(_template, _control, startWith, out clockOffset);
        }
        catch
        {
            _process.Dispose();
            throw;
        }
    }

    private static void SendFirst(Template template, SafeFileHandle control, CloneEnds ends, out long clockOffset)
    {
        var errno = Send(template, control, ends, out clockOffset);
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, $"start order of a clone of {template.Name}");
    }

    private static Errno Send(Template template, SafeFileHandle control, CloneEnds ends, out long clockOffsetNanoseconds)
    {
        Span<byte> order = stackalloc byte[StartOrder.MaxBytes];
        var length = StartOrder.Encode(template.Clocks, order, out clockOffsetNanoseconds);
        return SocketMessage.Send(control, order[..length], [.. ends.Theirs]);
    }

    private void Watch(CloneRequest? request)
    {
        if (request is { EndsWithAnswer: true } && _lazy is null)
            _watched = _template.WorkingSetRecorder.Watch(_process.HostPid, _process.PidFd);
    }

    private CloneTimes AwaitRunning()
    {
        try
        {
            Span<byte> message = stackalloc byte[CloneTimestamps.MessageBytes];
            var errno = SocketMessage.Receive(_control, message, out var length);
            // A clone that failed before it read its start order resets the connection; what it reported is there all the same (unix(7)).
            if (errno == Errno.ECONNRESET)
                errno = SocketMessage.Receive(_control, message, out length);
            if (errno == Errno.EAGAIN)
                throw new TimeoutException($"{Subject}: it did not start within {s_startTimeout.TotalSeconds} s; it is stopped, or the host is stuck");
            if (errno != Errno.None)
                throw new LinuxException("recvfrom", errno, Subject);
            if (length == 0)
                ThrowDied();
            return HuskReport.Decode(message) switch
            {
                { Tag: ReportTag.Running } => CloneTimes.Decode(message, _clockOffsetNanoseconds),
                { Tag: ReportTag.Failed } failed => throw CloneStartException.Failed(_template.Name, _template.Programs.Clone, failed),
                var other => throw new InvalidDataException($"{Subject} sent an unexpected report {other.Tag}"),
            };
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>It closed its socket without a word, so it is ending; the kill only makes sure that the wait ends too.</summary>
    [DoesNotReturn]
    private void ThrowDied()
    {
        _process.Kill();
        throw CloneStartException.Died(_template.Name, _process.WaitForExit());
    }

    private Clone HandOver(CloneRequest request, long generation, long requestedNanoseconds, CloneTimings timings, CloneEnds ends, IDisposable? placeholders)
    {
        _handedOver = true;
        _control.Dispose();
        return new Clone(request, generation, _template.WorkingSetRecorder, _process, _sandbox, _lazy, ends, placeholders) { Watched = _watched, RequestedNanoseconds = requestedNanoseconds, Timings = timings };
    }
}
