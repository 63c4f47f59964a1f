using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using Snapshots.RestorePool.Templates;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Clones;

/// <summary>
/// Keeps clones of every template parked, because the fork of a large address space is most of a clone's start: whoever asks finds it done.
/// A background thread forks replacements after a start, not beside it.
/// </summary>
/// <remarks>Thread-safe. Owns the parked clones; templates and sandboxes belong to the engine.</remarks>
internal sealed class ParkingPool : IDisposable
{
    private readonly SandboxPool _sandboxes;
    private readonly ConcurrentDictionary<Template, Bay> _bays = new();
    private readonly BlockingCollection<Bay> _wanted = [];
    private readonly Thread _filler;

    /// <param name="depth">Clones to keep parked per template; 0 parks none.</param>
    public ParkingPool(SandboxPool sandboxes, int depth)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(depth);
        _sandboxes = sandboxes;
        Depth = depth;
        _filler = new Thread(Fill) { Name = "clone parking", IsBackground = true };
        _filler.Start();
    }

    public int Depth { get; }

    /// <summary>Begins to park clones of <paramref name="template"/>.</summary>
    public void Open(Template template)
    {
        if (Depth == 0)
            return;
        _bays[template] = new Bay(template);
        Refill(template);
    }

    /// <summary>A parked clone for the caller to own; null when none is ready. Call <see cref="Refill"/> once it has started.</summary>
    public ParkedClone? TryTake(Template template)
    {
        if (!_bays.TryGetValue(template, out var bay))
            return null;
        while (bay.TryTake() is { } parked)
        {
            if (parked.IsAlive)
                return parked;
            // It failed or was killed while it waited. Whoever asks now gets another, and a fork's own error if those fail too.
            parked.Dispose();
        }
        return null;
    }

    /// <summary>Asks for as many clones of <paramref name="template"/> as are missing.</summary>
    public void Refill(Template template)
    {
        if (!_bays.TryGetValue(template, out var bay))
            return;
        lock (_wanted)
        {
            // A launch may still be on its way out when the engine is disposed of.
            for (var missing = _wanted.IsAddingCompleted ? 0 : bay.Miss(Depth); missing > 0; missing--)
                _wanted.Add(bay);
        }
    }

    /// <summary>The clones of <paramref name="template"/> that are parked now, by their pids in our PID namespace.</summary>
    public IReadOnlyList<int> PidsOf(Template template) => _bays.TryGetValue(template, out var bay) ? bay.Pids() : [];

    /// <summary>Ends the parked clones of <paramref name="template"/>.</summary>
    public void Close(Template template)
    {
        if (_bays.TryRemove(template, out var bay))
            bay.Close();
    }

    /// <summary>Waits until all that <see cref="Refill"/> asked for are parked: benchmarks measure a ready pool.</summary>
    /// <exception cref="Exception">One of them could not be made; says why.</exception>
    public void WaitUntilFull(Template template, CancellationToken cancellation)
    {
        if (_bays.TryGetValue(template, out var bay))
            bay.WaitUntilSettled(cancellation);
    }

    public void Dispose()
    {
        lock (_wanted)
            _wanted.CompleteAdding();
        // Closed bays have nothing forked for them any more: the filler comes to its end quickly.
        foreach (var template in _bays.Keys)
            Close(template);
        _filler.Join();
        _wanted.Dispose();
    }

    private void Fill()
    {
        foreach (var bay in _wanted.GetConsumingEnumerable())
            bay.Park(_sandboxes);
    }

    /// <summary>The parked clones of one template.</summary>
    private sealed class Bay(Template template)
    {
        private readonly Lock _gate = new();
        private readonly Queue<ParkedClone> _ready = [];
        private readonly ManualResetEventSlim _settled = new();
        private ExceptionDispatchInfo? _failure;
        private int _underway;
        private bool _closed;

        public ParkedClone? TryTake()
        {
            lock (_gate)
                return _ready.TryDequeue(out var parked) ? parked : null;
        }

        public IReadOnlyList<int> Pids()
        {
            lock (_gate)
                return [.. _ready.Select(parked => parked.HostPid)];
        }

        /// <summary>How many are missing; they count as under way from now on.</summary>
        public int Miss(int depth)
        {
            lock (_gate)
            {
                var missing = _closed ? 0 : Math.Max(0, depth - _ready.Count - _underway);
                _underway += missing;
                if (missing > 0)
                {
                    _settled.Reset();
                    _failure = null;
                }
                return missing;
            }
        }

        public void Park(SandboxPool sandboxes)
        {
            ParkedClone? parked = null;
            ExceptionDispatchInfo? failure = null;
            try
            {
                if (!Volatile.Read(ref _closed))
                    parked = ParkedClone.Fork(template, sandboxes.Take(), startWith: null, request: null);
            }
            catch (Exception cause)
            {
                // Not tried again at once, the host is short of something: whoever finds the pool empty forks, and learns why.
                failure = ExceptionDispatchInfo.Capture(cause);
            }
            lock (_gate)
            {
                _underway--;
                _failure ??= failure;
                if (parked is not null && !_closed)
                {
                    _ready.Enqueue(parked);
                    parked = null;
                }
                if (_underway == 0)
                    _settled.Set();
            }
            parked?.Dispose();
        }

        public void WaitUntilSettled(CancellationToken cancellation)
        {
            _settled.Wait(cancellation);
            lock (_gate)
                _failure?.Throw();
        }

        public void Close()
        {
            List<ParkedClone> left;
            lock (_gate)
            {
                Volatile.Write(ref _closed, true);
                left = [.. _ready];
                _ready.Clear();
                _settled.Set();
            }
            left.ForEach(parked => parked.Dispose());
        }
    }
}
