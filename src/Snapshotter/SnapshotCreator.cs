using System.Diagnostics;
using System.Globalization;
using Google.Protobuf;
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
/// 3. Publish the image under its name; end the worker, or let it run on.
/// </code>
/// Whatever fails or is cancelled on the way: the worker that was started is gone, the process that was named runs on as it was, and the store holds nothing new.
/// </summary>
public sealed class SnapshotCreator(ImageStore store) : IDisposable
{
    private const int SIGCONT = 18;
    private const int SIGKILL = 9;
    private readonly Lazy<SandboxFactory> _factory = new(SandboxFactory.Start);

    /// <exception cref="SpawnException">The command cannot be started.</exception>
    /// <exception cref="WorkerNotReadyException">It ended, or was not ready in time.</exception>
    /// <exception cref="FreezeRefusedException">It holds what cannot be snapshotted: all of it is listed.</exception>
    /// <exception cref="ImageException">The store refuses the name or cannot be written.</exception>
    public CreatedImage Create(CreateRequest request, IProgress<CreatePhase>? progress, CancellationToken cancellation)
    {
        // Refused before a worker is started for nothing.
        if (!ImageStore.IsValidName(request.Name))
            throw new ImageException(ImageFailure.InvalidName, $"'{request.Name}' is no snapshot name; use letters, digits, '.', '_' and '-', beginning with a letter or digit");
        return request.Pid is { } pid ? FreezeRunning(pid, request, progress) : LaunchAndFreeze(request, progress, cancellation);
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
        using var worker = LaunchAndWait(new WorkerLauncher(_factory.Value), request, ready, () => progress?.Report(CreatePhase.WaitingReady), cancellation);
        var manifest = NewManifest(ready.ToImage());
        manifest.Launch = new LaunchRecord { Command = { request.Command }, Environment = { request.Environment }, WorkingDirectory = request.WorkingDirectory };
        manifest.Statistics = new FreezeStatistics { ColdStartReadyMicroseconds = (ulong)clock.Elapsed.TotalMicroseconds };
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
        using var pidFd = Pidfd.Open(pid);
        var manifest = NewManifest(new Images.V1.Readiness { Immediate = true });
        var target = new FreezeTarget { Pid = pid, Externals = StdioOf(pid), Manifest = manifest, KeepRunning = request.KeepRunning };
        try
        {
            var created = FreezeAndPublish(target, request.Name);
            if (!request.KeepRunning)
                _ = Pidfd.SendSignal(pidFd, SIGKILL); // ESRCH: it ended by itself after the image was taken.
            progress?.Report(CreatePhase.Published);
            return created;
        }
        catch when (!request.KeepRunning)
        {
            // A freeze that is to end its target leaves it stopped; without a published image it must run on.
            _ = Pidfd.SendSignal(pidFd, SIGCONT);
            throw;
        }
    }

    private CreatedImage FreezeAndPublish(FreezeTarget target, string name)
    {
        using var writer = store.CreateWriter();
        var result = Freeze.Run(target, writer);
        return new CreatedImage(writer.Commit(name, result.Manifest), result.Manifest);
    }

    private static Manifest NewManifest(Images.V1.Readiness readiness)
    {
        var facts = HostFacts.Current;
        return new Manifest
        {
            CreatedUnixMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(),
            Readiness = readiness,
            Host = new HostFingerprint
            {
                KernelRelease = facts.KernelRelease,
                CpuFlags = { facts.CpuFlags },
                Xcr0 = facts.Xcr0,
                XstateSizeBytes = facts.XstateSizeBytes,
                VdsoLengthBytes = facts.VdsoLengthBytes,
                VdsoSha256 = ByteString.CopyFrom(facts.VdsoSha256),
                BootId = facts.BootId,
            },
        };
    }

    /// <summary>The stdio of a running process leads outside by its nature; each clone gets its own.</summary>
    private static Dictionary<ObjectIdentity, ExternalRole> StdioOf(int pid)
    {
        var externals = new Dictionary<ObjectIdentity, ExternalRole>();
        ReadOnlySpan<ExternalRole> roles = [ExternalRole.Stdin, ExternalRole.Stdout, ExternalRole.Stderr];
        for (var fd = 0; fd < roles.Length; fd++)
        {
            if (FileStatus.At(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/fd/{fd}"), followLast: true, out var status) == Errno.None
                && (status.IsFifo || status.IsSocket))
                externals.TryAdd(new ObjectIdentity(status.Device, status.Inode), roles[fd]);
        }
        return externals;
    }
}
