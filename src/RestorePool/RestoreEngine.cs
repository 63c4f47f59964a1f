using System.Collections.Concurrent;
using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool;

/// <summary>
/// Launches clones of snapshots. The main path: <see cref="Launch"/> makes the clone's pipes and channel, writes its payload, and starts a
/// parked clone; when none is parked it orders a fork from the snapshot's <see cref="Template"/> into a ready sandbox.
/// </summary>
/// <remarks>Thread-safe. One engine per process is enough. <see cref="Dispose"/> ends templates, parked clones and idle sandboxes; clones belong to their owners.</remarks>
public sealed class RestoreEngine : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<Template>> _templates = new(StringComparer.Ordinal);
    private readonly SandboxPool _sandboxes;
    private readonly ParkingPool _parking;
    private readonly RestoreOptions _options;
    private long _generation;

    private RestoreEngine(SandboxPool sandboxes, RestoreOptions options)
    {
        _sandboxes = sandboxes;
        _options = options;
        _parking = new ParkingPool(sandboxes, options.ParkedClones);
    }

    /// <summary>Ready-made namespaces.</summary>
    public SandboxPool Sandboxes => _sandboxes;

    public static RestoreEngine Start(RestoreOptions options) =>
        new(new SandboxPool(SandboxFactory.Start(), options.SandboxPoolSize), options);

    /// <summary>The template of <paramref name="image"/>, built by the first who asks; a template that died is built anew.</summary>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    public Template Prepare(SnapshotImage image)
    {
        var key = image.Digest.ToString();
        var lazy = _templates.GetOrAdd(key, _ => new Lazy<Template>(() => Build(image)));
        try
        {
            return lazy.Value;
        }
        catch
        {
            // A failed build is not remembered: the reason may be gone next time.
            _templates.TryRemove(KeyValuePair.Create(key, lazy));
            throw;
        }
    }

    /// <summary>Starts one clone; returns when its next step is application code.</summary>
    /// <exception cref="CloneStartException">The clone failed to start; nothing of it is left.</exception>
    /// <exception cref="ArgumentException">The payload is not JSON or too large.</exception>
    public Clone Launch(SnapshotImage image, CloneRequest request)
    {
        var requested = MonotonicClock.NowNanoseconds();
        var generation = Interlocked.Increment(ref _generation);
        var line = request.WithholdRequest ? [] : ChannelMessage.Encode(request, generation);
        var template = Prepare(image);
        using var ends = CloneEnds.Create(template.Externals, request.Id);
        if (!request.WithholdRequest)
            ends.WriteToChannel(line);
        try
        {
            if (!request.ForkOnDemand && _parking.TryTake(template) is { } parked)
            {
                using (parked)
                    return parked.Start(request, generation, requested, ends);
            }
            using var born = Fork(image, template, ends);
            return born.AwaitStart(request, generation, requested, ends);
        }
        finally
        {
            _parking.Refill(template);
        }
    }

    /// <summary>Waits until sandboxes and clones of <paramref name="image"/> stand ready: for benchmarks, which measure that state.</summary>
    /// <exception cref="Exception">One of them cannot be made; says why.</exception>
    public void WaitUntilReady(SnapshotImage image, CancellationToken cancellation)
    {
        _parking.WaitUntilFull(Prepare(image), cancellation);
        _sandboxes.WaitUntilFull(cancellation);
    }

    /// <summary>Ends the template of a snapshot and its parked clones; live clones keep what they share with it.</summary>
    public void Drop(string digest)
    {
        if (!_templates.TryRemove(digest, out var lazy) || !lazy.IsValueCreated)
            return;
        _parking.Close(lazy.Value);
        lazy.Value.Dispose();
    }

    public void Dispose()
    {
        // Parked clones first: the pool's thread forks from the templates.
        _parking.Dispose();
        foreach (var digest in _templates.Keys)
            Drop(digest);
        _sandboxes.Dispose();
    }

    private Template Build(SnapshotImage image)
    {
        var template = Template.Build(image, _options);
        _parking.Open(template);
        return template;
    }

    private ParkedClone Fork(SnapshotImage image, Template template, CloneEnds ends)
    {
        try
        {
            return ParkedClone.Fork(template, _sandboxes.Take(), ends);
        }
        catch (Snapshots.Programs.HuskDiedException)
        {
            Drop(image.Digest.ToString());
            throw;
        }
    }
}
