using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool;

/// <summary>
/// Launches clones of snapshots. The main path: <see cref="Launch(TemplateSource, CloneRequest)"/> makes the clone's pipes and channel, writes its
/// payload, and starts a parked clone; when none is parked it orders a fork from the snapshot's <see cref="Template"/> into a ready sandbox.
/// </summary>
/// <remarks>Thread-safe. One engine per process is enough. <see cref="Dispose"/> ends templates, parked clones and idle sandboxes; clones belong to their owners.</remarks>
public sealed class RestoreEngine : IDisposable
{
    private readonly SandboxPool _sandboxes;
    private readonly SocketPlaceholders _placeholders = new();
    private readonly ParkingPool _parking;
    private readonly ResidentTemplates _templates;
    private long _generation;

    private RestoreEngine(SandboxPool sandboxes, RestoreOptions options)
    {
        _sandboxes = sandboxes;
        _parking = new ParkingPool(sandboxes, options.ParkedClones);
        _templates = new ResidentTemplates(_parking, options);
    }

    /// <summary>Ready-made namespaces.</summary>
    public SandboxPool Sandboxes => _sandboxes;

    public static RestoreEngine Start(RestoreOptions options) =>
        new(new SandboxPool(SandboxFactory.Start(), options.SandboxPoolSize), options);

    /// <summary>
    /// Begins a use of a template, built by the first who asks; a template that died is built anew. Whoever has several clones to launch holds one
    /// meanwhile, so that the template stays between them.
    /// </summary>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    public TemplateUse Use(TemplateSource source) => _templates.Use(source);

    /// <summary>The template of <paramref name="image"/>, built when it is not there. With a budget for templates it may be dropped any time after; see <see cref="Use"/>.</summary>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    public Template Prepare(SnapshotImage image)
    {
        using var use = Use(TemplateSource.Of(image));
        return use.Template;
    }

    /// <inheritdoc cref="Launch(TemplateSource, CloneRequest)"/>
    public Clone Launch(SnapshotImage image, CloneRequest request) => Launch(TemplateSource.Of(image), request);

    /// <summary>Starts one clone; returns when its next step is application code.</summary>
    /// <exception cref="CloneStartException">The clone failed to start; nothing of it is left.</exception>
    /// <exception cref="ArgumentException">The payload is not JSON or too large.</exception>
    public Clone Launch(TemplateSource source, CloneRequest request)
    {
        var requested = MonotonicClock.NowNanoseconds();
        var generation = Interlocked.Increment(ref _generation);
        var line = request.WithholdRequest ? [] : ChannelMessage.Encode(request, generation);
        using var use = Use(source);
        var template = use.Template;
        using var ends = CloneEnds.Create(template.Externals, request.Id);
        if (!request.WithholdRequest)
            ends.WriteToChannel(line);
        var placeholders = _placeholders.Take(template.Programs.SocketPaths);
        try
        {
            if (!request.ForkOnDemand && _parking.TryTake(template) is { } parked)
            {
                using (parked)
                    return parked.Start(request, generation, requested, ends, placeholders);
            }
            using var born = Fork(template, ends, request);
            return born.AwaitStart(request, generation, requested, ends, placeholders);
        }
        catch
        {
            placeholders?.Dispose();
            throw;
        }
        finally
        {
            _parking.Refill(template);
        }
    }

    /// <summary>Waits until the template of <paramref name="image"/> is complete, and sandboxes and clones stand ready: for benchmarks, which measure that state.</summary>
    /// <exception cref="Exception">One of them cannot be made; says why.</exception>
    public void WaitUntilReady(SnapshotImage image, CancellationToken cancellation)
    {
        var source = TemplateSource.Of(image);
        _templates.WaitUntilComplete(source, cancellation);
        using (var use = Use(source))
            _parking.WaitUntilFull(use.Template, cancellation);
        _sandboxes.WaitUntilFull(cancellation);
    }

    /// <summary>The templates that are in memory, with what they have there. Reads two small files of each; holds up nobody.</summary>
    public IReadOnlyList<TemplateStatus> ListTemplates() => _templates.List();

    /// <summary>
    /// Ends the template of a snapshot and its parked clones: at once, or when the launches that use it are through. Live clones keep what they
    /// share with it, and the next launch builds another.
    /// </summary>
    public void Drop(string digest) => _templates.Drop(digest);

    public void Dispose()
    {
        // Parked clones first: the pool's thread forks from the templates.
        _parking.Dispose();
        _templates.Dispose();
        _sandboxes.Dispose();
    }

    private ParkedClone Fork(Template template, CloneEnds ends, CloneRequest request)
    {
        try
        {
            return ParkedClone.Fork(template, _sandboxes.Take(), ends, request);
        }
        catch (Snapshots.Programs.HuskDiedException)
        {
            _templates.Retire(template);
            throw;
        }
    }
}
