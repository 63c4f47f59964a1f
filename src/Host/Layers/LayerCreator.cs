using System.Net.Sockets;
using Snapshots.Images;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Capture;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Host.Layers;

/// <summary>
/// Makes a snapshot of a clone of another snapshot.
/// <code>
/// 1. Bring the parent back to memory: its template, in an engine of our own.
/// 2. Start one clone of it, with the payload, and wait until it says that it is ready once more.
/// 3. Freeze it. Pages that it still shares with the template are taken over from the parent's image, unread.
/// 4. Publish the image; the clone ends in its stop.
/// </code>
/// Whatever fails or is cancelled on the way: no process is left, and the store holds nothing new.
/// </summary>
/// <remarks>Thread-safe; each creation has an engine of its own.</remarks>
public sealed class LayerCreator(ImageStore store)
{
    /// <exception cref="ImageException">The parent cannot be opened; the store refuses the name or cannot be written.</exception>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the parent.</exception>
    /// <exception cref="CloneStartException">The clone failed to start.</exception>
    /// <exception cref="WorkerNotReadyException">It ended, was not ready in time, or cannot say so.</exception>
    /// <exception cref="FreezeRefusedException">It holds what cannot be snapshotted: all of it is listed.</exception>
    /// <exception cref="ArgumentException">The payload is not JSON or too large.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public CreatedImage Create(LayerRequest request, IProgress<CreatePhase>? progress, CancellationToken cancellation)
    {
        SnapshotCreator.RequireName(request.Name);
        progress?.Report(CreatePhase.Cloning);
        using var parent = store.OpenImage(request.Parent);
        using var engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, ParkedClones = 0, LazyFromBytes = null, HostClocks = request.HostClocks });
        using var use = engine.Use(TemplateSource.Of(parent));
        cancellation.ThrowIfCancellationRequested();
        var template = use.Template;
        var ready = ReadinessSpec.Again(request.Ready?.ToImage() ?? parent.Manifest.Readiness, StartEnvironment.TryRead(template.Pid, "NOTIFY_SOCKET"));
        using var clone = StartAndWait(engine, TemplateSource.Of(parent), ready, request, () => progress?.Report(CreatePhase.WaitingReady), cancellation);
        cancellation.ThrowIfCancellationRequested();
        progress?.Report(CreatePhase.Freezing);
        var layerBase = new LayerBase { Parent = parent, TemplatePid = template.Pid, UnlikeImage = template.Programs.UnlikeImage };
        var created = SnapshotCreator.FreezeLayer(store, request.Name, clone.HostPid, layerBase, ready);
        progress?.Report(CreatePhase.Published);
        return created;
    }

    private static CloneWorker StartAndWait(
        RestoreEngine engine, TemplateSource source, ReadinessSpec ready, LayerRequest request, Action started, CancellationToken cancellation)
    {
        var notify = ready as NotifyReadiness;
        using var socket = notify is null ? null : Bind(notify);
        try
        {
            if (notify is not null)
                notify.Socket = socket;
            var clone = new CloneWorker(engine.Launch(source, new CloneRequest { Id = request.Name, PayloadJson = request.PayloadJson, ForkOnDemand = true }));
            try
            {
                started();
                ready.Wait(clone, request.Timeout, cancellation);
                return clone;
            }
            catch
            {
                clone.Dispose();
                throw;
            }
        }
        finally
        {
            if (notify?.NotifySocket is { } path)
                File.Delete(path);
        }
    }

    private static Socket Bind(NotifyReadiness notify)
    {
        try
        {
            return notify.Bind();
        }
        catch (SocketException e)
        {
            throw new WorkerNotReadyException($"the clone says that it is ready on {notify.NotifySocket}, where no socket can be made ({e.Message}); only one layer of such a snapshot can be made at a time, or choose another way with --ready");
        }
    }
}
