using Snapshots.Linux;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// A clone, with whatever it forks, that was born before its template was complete: it depends on the page server as long as it lives.
/// </summary>
/// <remarks>
/// Thread-safe. The doors of its address spaces are held twice: here, and by the init of its sandbox. If we die, the init ends the clone before it
/// lets go of them, because memory without a door reads as zeros. <see cref="Dispose"/> only when all processes of the sandbox have ended.
/// </remarks>
internal sealed class LazyClone : IDisposable
{
    private static readonly TimeSpan s_birthTimeout = TimeSpan.FromSeconds(60);
    private readonly Sandbox _sandbox;
    private readonly LazyMemory _memory;
    private readonly Lock _gate = new();
    private readonly List<LazySpace> _spaces = [];
    private readonly ManualResetEventSlim _born = new();
    private int _looksAgainAt = 8;
    private bool _disposed;
    private string? _failure;

    public LazyClone(Sandbox sandbox, LazyMemory memory)
    {
        _sandbox = sandbox;
        _memory = memory;
        memory.AddUser();
    }

    /// <summary>Why it was ended; null when it was not.</summary>
    public string? Failure => Volatile.Read(ref _failure);

    public LazyMemory Memory => _memory;

    /// <summary>Waits until its first address space is looked after: no application code may run before.</summary>
    /// <exception cref="TimeoutException">No event came: the page server is stuck.</exception>
    public void AwaitBirth()
    {
        if (!_born.Wait(s_birthTimeout))
            throw new TimeoutException("the page server did not take note of a clone's birth within a minute; the host is stuck");
    }

    /// <summary>Takes a new address space of one of its processes, before that process may go on.</summary>
    public void Adopt(LazySpace space)
    {
        lock (_gate)
        {
            if (_spaces.Count >= _looksAgainAt)
                ForgetEnded();
            try
            {
                space.Kept = _sandbox.Keep(space.Door.Handle);
            }
            catch (LinuxException e) when (e.Errno is Errno.EPIPE or Errno.ECONNRESET)
            {
                // The sandbox has ended, and with it whose memory this is.
            }
            _spaces.Add(space);
        }
        _born.Set();
    }

    /// <summary>Ends it at once; the first reason counts.</summary>
    public void Fail(string reason)
    {
        _ = Interlocked.CompareExchange(ref _failure, reason, null);
        try
        {
            _sandbox.Kill();
        }
        catch (ObjectDisposedException)
        {
            // Its owner has ended it already.
        }
    }

    public void Dispose()
    {
        List<LazySpace> left;
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
            left = [.. _spaces];
            _spaces.Clear();
        }
        left.ForEach(_memory.Server.Forget);
        _memory.RemoveUser();
        _born.Dispose();
    }

    /// <summary>Processes end and programs are executed without a word: now and then somebody has to look.</summary>
    private void ForgetEnded()
    {
        foreach (var ended in _spaces.Where(space => !space.IsAlive()).ToList())
        {
            _spaces.Remove(ended);
            _memory.Server.Forget(ended);
            if (ended.Kept != 0)
                _sandbox.Release(ended.Kept);
        }
        _looksAgainAt = Math.Max(8, _spaces.Count * 2);
    }
}
