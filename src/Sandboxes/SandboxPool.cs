using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace Snapshots.Sandboxes;

/// <summary>
/// Keeps sandboxes ready, because making one costs as much as starting the clone that uses it. A background thread refills up to
/// <see cref="Depth"/>; an empty pool makes one on the spot.
/// </summary>
/// <remarks>Thread-safe.</remarks>
public sealed class SandboxPool : IDisposable
{
    private readonly SandboxFactory _factory;
    private readonly ConcurrentQueue<Sandbox> _ready = new();
    private readonly SemaphoreSlim _wanted;
    private readonly CancellationTokenSource _stop = new();
    private readonly ManualResetEventSlim _full = new();
    private readonly Thread _filler;
    private volatile ExceptionDispatchInfo? _failure;
    private int _failed;

    /// <param name="factory">Owned by the pool.</param>
    /// <param name="depth">Sandboxes to keep ready.</param>
    public SandboxPool(SandboxFactory factory, int depth)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(depth);
        _factory = factory;
        Depth = depth;
        _wanted = new SemaphoreSlim(depth);
        _filler = new Thread(Fill) { Name = "sandbox pool", IsBackground = true };
        _filler.Start();
    }

    public int Depth { get; }

    /// <summary>Sandboxes ready now.</summary>
    public int ReadyCount => _ready.Count;

    /// <summary>A sandbox for the caller to own.</summary>
    /// <exception cref="Exception">The pool is empty and a sandbox cannot be made; says why.</exception>
    public Sandbox Take()
    {
        if (_ready.TryDequeue(out var sandbox))
        {
            _full.Reset();
            _wanted.Release();
            return sandbox;
        }
        // Throws to the caller while the reason lasts; once it is gone, so is the filler's: what it failed to make is wanted again.
        var made = _factory.Create();
        var failed = Interlocked.Exchange(ref _failed, 0);
        if (failed > 0)
        {
            _failure = null;
            _full.Reset();
            _wanted.Release(failed);
        }
        return made;
    }

    /// <summary>Waits until the pool holds <see cref="Depth"/> sandboxes: benchmarks measure a ready pool.</summary>
    public void WaitUntilFull(CancellationToken cancellation)
    {
        _full.Wait(cancellation);
        _failure?.Throw();
    }

    public void Dispose()
    {
        _stop.Cancel();
        _filler.Join();
        while (_ready.TryDequeue(out var sandbox))
            sandbox.Dispose();
        _factory.Dispose();
        _stop.Dispose();
        _wanted.Dispose();
        _full.Dispose();
    }

    private void Fill()
    {
        try
        {
            while (true)
            {
                _wanted.Wait(_stop.Token);
                FillOne();
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The end of the pool.
        }
    }

    private void FillOne()
    {
        try
        {
            _ready.Enqueue(_factory.Create());
            if (_ready.Count >= Depth)
                _full.Set();
        }
        catch (Exception failure)
        {
            // Not tried again at once, the host is short of something: whoever finds the pool empty tries, and learns why or wakes us.
            _failure = ExceptionDispatchInfo.Capture(failure);
            Interlocked.Increment(ref _failed);
            _full.Set();
        }
    }
}
