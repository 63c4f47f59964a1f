using System.Collections.Concurrent;
using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool;

/// <summary>
/// Launches clones of snapshots. The main path: <see cref="Launch"/> takes a ready sandbox, makes the clone's pipes and channel, writes its
/// payload, and orders a fork from the snapshot's <see cref="Template"/>.
/// </summary>
/// <remarks>Thread-safe. One engine per process is enough. <see cref="Dispose"/> ends templates and idle sandboxes; clones belong to their owners.</remarks>
public sealed class RestoreEngine : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<Template>> _templates = new(StringComparer.Ordinal);
    private readonly SandboxPool _sandboxes;
    private readonly SocketPlaceholders _placeholders = new();
    private long _generation;

    private RestoreEngine(SandboxPool sandboxes) => _sandboxes = sandboxes;

    /// <summary>Ready-made namespaces.</summary>
    public SandboxPool Sandboxes => _sandboxes;

    public static RestoreEngine Start(RestoreOptions options) => new(new SandboxPool(SandboxFactory.Start(), options.SandboxPoolSize));

    /// <summary>The template of <paramref name="image"/>, built by the first who asks; a template that died is built anew.</summary>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    public Template Prepare(SnapshotImage image)
    {
        var key = image.Digest.ToString();
        var lazy = _templates.GetOrAdd(key, _ => new Lazy<Template>(() => Template.Build(image)));
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
        var sandbox = _sandboxes.Take();
        IDisposable? placeholders = null;
        try
        {
            placeholders = _placeholders.Take(template.Programs.SocketPaths);
            using var ends = CloneEnds.Create(template.Externals, request.Id);
            if (!request.WithholdRequest)
                ends.WriteToChannel(line);
            var started = Fork(image, template, sandbox, ends);
            return new Clone(request, generation, started, requested, sandbox, ends, placeholders);
        }
        catch
        {
            // A template that died between its fork and its report leaves a child of ours that nobody knows.
            sandbox.ReapStrays();
            sandbox.Dispose();
            placeholders?.Dispose();
            throw;
        }
    }

    /// <summary>Ends the template of a snapshot; live clones keep what they share with it.</summary>
    public void Drop(string digest)
    {
        if (_templates.TryRemove(digest, out var lazy) && lazy.IsValueCreated)
            lazy.Value.Dispose();
    }

    public void Dispose()
    {
        foreach (var digest in _templates.Keys)
            Drop(digest);
        _sandboxes.Dispose();
    }

    private StartedClone Fork(SnapshotImage image, Template template, Sandbox sandbox, CloneEnds ends)
    {
        try
        {
            return template.Fork(sandbox, [.. ends.Theirs]);
        }
        catch (Snapshots.Programs.HuskDiedException)
        {
            Drop(image.Digest.ToString());
            throw;
        }
    }
}
