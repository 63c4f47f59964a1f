using System.Diagnostics;
using System.Globalization;
using Snapshots.ImageFacts;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;
using Snapshots.Snapshotter.Capture;
using Snapshots.Snapshotter.Launching;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Snapshotter;

/// <summary>
/// Makes snapshots.
/// <code>
/// 1. Start the worker in a sandbox of its own, and wait until it is ready; or take the process that was named.
/// 2. Freeze it and write its image.
/// 3. Publish the image under its name. It ends then, unless it is to be kept running.
/// </code>
/// Whatever fails or is cancelled on the way: the worker that was started is gone, the process that was named runs on as it was, and the store holds nothing new.
/// </summary>
public sealed class SnapshotCreator(ImageStore store) : IDisposable
{
    private readonly Lazy<SandboxFactory> _factory = new(SandboxFactory.Start);

    /// <exception cref="SpawnException">The command cannot be started.</exception>
    /// <exception cref="WorkerNotReadyException">It ended, or was not ready in time.</exception>
    /// <exception cref="FreezeRefusedException">It holds what cannot be snapshotted: all of it is listed.</exception>
    /// <exception cref="ImageException">The store refuses the name or cannot be written.</exception>
    public CreatedImage Create(CreateRequest request, IProgress<CreatePhase>? progress, CancellationToken cancellation)
    {
        RequireName(request.Name);
        return request.Pid is { } pid ? FreezeRunning(pid, request, progress) : LaunchAndFreeze(request, progress, cancellation);
    }

    /// <summary>Refuses a name before a worker is started for nothing.</summary>
    /// <exception cref="ImageException">InvalidName.</exception>
    public static void RequireName(string name)
    {
        if (!ImageStore.IsValidName(name))
            throw new ImageException(ImageFailure.InvalidName, $"'{name}' is no snapshot name; use letters, digits, '.', '_' and '-', beginning with a letter or digit");
    }

    public void Dispose()
    {
        if (_factory.IsValueCreated)
            _factory.Value.Dispose();
    }

    private CreatedImage LaunchAndFreeze(CreateRequest request, IProgress<CreatePhase>? progress, CancellationToken cancellation)
    {
        var ready = request.Ready ?? new ChannelReadiness();
        progress?.Report(CreatePhase.Launching);
        var clock = Stopwatch.StartNew();
        var worker = LaunchAndWait(new WorkerLauncher(_factory.Value), request, ready, () => progress?.Report(CreatePhase.WaitingReady), cancellation);
        var keep = false;
        try
        {
            var created = FreezeLaunched(worker, request, ready, clock.Elapsed, progress);
            keep = request.KeepRunning;
            return created with { Worker = keep ? worker : null };
        }
        finally
        {
            if (!keep)
                worker.Dispose();
        }
    }

    private CreatedImage FreezeLaunched(LaunchedWorker worker, CreateRequest request, ReadinessSpec ready, TimeSpan coldStart, IProgress<CreatePhase>? progress)
    {
        var manifest = NewManifest(ready.ToImage());
        manifest.Launch = new LaunchRecord { Command = { request.Command }, Environment = { request.Environment }, WorkingDirectory = request.WorkingDirectory };
        manifest.Statistics = new FreezeStatistics { ColdStartReadyMicroseconds = (ulong)coldStart.TotalMicroseconds };
        progress?.Report(CreatePhase.Freezing);
        var target = new FreezeTarget { Pid = worker.Process.HostPid, Externals = worker.Externals, Manifest = manifest, KeepRunning = request.KeepRunning };
        var created = FreezeAndPublish(target, request.Name);
        progress?.Report(CreatePhase.Published);
        return created;
    }

    /// <summary>Starts a worker as for a snapshot and waits until it is ready; also how cold starts are measured.</summary>
    public static LaunchedWorker LaunchAndWait(WorkerLauncher launcher, CreateRequest request, ReadinessSpec ready, Action launched, CancellationToken cancellation)
    {
        var notify = ready as NotifyReadiness;
        using var socket = notify?.Bind();
        try
        {
            if (notify is not null)
                notify.Socket = socket;
            var worker = launcher.Launch(new WorkerLaunch
            {
                Command = request.Command,
                Environment = request.Environment,
                WorkingDirectory = request.WorkingDirectory,
                NotifySocket = ready.NotifySocket,
                DisableAslr = !request.Aslr,
            });
            try
            {
                launched();
                ready.Wait(worker, request.Timeout, cancellation);
                return worker;
            }
            catch
            {
                worker.Dispose();
                throw;
            }
        }
        finally
        {
            if (notify?.NotifySocket is { } path)
                File.Delete(path);
        }
    }

    private CreatedImage FreezeRunning(int pid, CreateRequest request, IProgress<CreatePhase>? progress)
    {
        progress?.Report(CreatePhase.Freezing);
        var manifest = NewManifest(new Images.V1.Readiness { Immediate = true });
        var target = new FreezeTarget { Pid = pid, Externals = ExternalsOf(pid), Manifest = manifest, KeepRunning = request.KeepRunning };
        var created = FreezeAndPublish(target, request.Name);
        progress?.Report(CreatePhase.Published);
        return created;
    }

    /// <summary>Freezes a clone that has got ready again into a layer of what it was cloned from, and ends it in its stop once the image is published.</summary>
    /// <param name="ready">How it got ready, and how clones of it would.</param>
    /// <param name="keepRunning">Let it run on instead.</param>
    /// <exception cref="FreezeRefusedException">It holds what cannot be snapshotted: all of it is listed.</exception>
    /// <exception cref="ImageException">The parent's pages are gone, or the store cannot be written.</exception>
    public static CreatedImage FreezeLayer(ImageStore store, string name, int pid, LayerBase layerBase, ReadinessSpec ready, bool keepRunning = false)
    {
        using var writer = store.CreateWriter(layerBase.Parent);
        // A parent from an older store has no packs that could be pointed at: its layers store all of their pages.
        var parent = layerBase.Parent.Manifest.Pages.Map is null ? null : layerBase;
        var target = new FreezeTarget { Pid = pid, Externals = ExternalsOf(pid), Manifest = NewManifest(ready.ToImage()), Base = parent, KeepRunning = keepRunning };
        var result = Freeze.Run(target, writer, name);
        return new CreatedImage(result.Digest, result.Manifest);
    }

    private CreatedImage FreezeAndPublish(FreezeTarget target, string name)
    {
        using var writer = store.CreateWriter();
        var result = Freeze.Run(target, writer, name);
        return new CreatedImage(result.Digest, result.Manifest);
    }

    private static Manifest NewManifest(Images.V1.Readiness readiness) => new()
    {
        CreatedUnixMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(),
        Readiness = readiness,
        Host = HostFingerprints.Current(),
    };

    /// <summary>What leads outside a running process by its nature, so that each clone gets its own: its stdio, and its channel when it is a worker or a clone of ours.</summary>
    private static Dictionary<ObjectIdentity, ExternalRole> ExternalsOf(int pid)
    {
        var externals = new Dictionary<ObjectIdentity, ExternalRole>();
        List<(int Fd, ExternalRole Role)> candidates = [(0, ExternalRole.Stdin), (1, ExternalRole.Stdout), (2, ExternalRole.Stderr)];
        if (ChannelOf(pid) is { } channel)
            candidates.Add((channel, ExternalRole.Channel));
        foreach (var (fd, role) in candidates)
        {
            if (FileStatus.At(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/fd/{fd}"), followLast: true, out var status) == Errno.None
                && (status.IsFifo || status.IsSocket))
                externals.TryAdd(new ObjectIdentity(status.Device, status.Inode), role);
        }
        return externals;
    }

    /// <summary>The number in the environment the process was started with.</summary>
    private static int? ChannelOf(int pid) =>
        StartEnvironment.TryRead(pid, "SNAPSHOTS_CHANNEL") is { } text && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var fd) ? fd : null;
}
