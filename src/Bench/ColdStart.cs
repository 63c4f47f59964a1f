using System.Diagnostics;
using Snapshots.Images.V1;
using Snapshots.Sandboxes;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Launching;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Bench;

/// <summary>What the snapshot saves: the recorded command launched in a new sandbox, exactly as for a snapshot, until it has answered once.</summary>
public sealed class ColdStart : IColdStart, IDisposable
{
    private static readonly TimeSpan ReadyTimeout = TimeSpan.FromMinutes(5);
    private readonly SandboxFactory _sandboxes = SandboxFactory.Start();
    private readonly Manifest _manifest;
    private readonly IAnswerProbe _probe;
    private readonly BenchOptions _options;
    private readonly CreateRequest _request;

    private ColdStart(Manifest manifest, IAnswerProbe probe, BenchOptions options)
    {
        _manifest = manifest;
        _probe = probe;
        _options = options;
        _request = new CreateRequest
        {
            Name = "cold-start",
            Command = manifest.Launch.Command,
            Environment = manifest.Launch.Environment,
            WorkingDirectory = manifest.Launch.WorkingDirectory,
            Timeout = ReadyTimeout,
        };
    }

    /// <summary>Null when the snapshot records no command, or its worker cannot be asked anything.</summary>
    public static ColdStart? For(Manifest manifest, BenchOptions options) =>
        manifest.Launch is { Command.Count: > 0 } && AnswerProbes.For(manifest, options) is { } probe ? new ColdStart(manifest, probe, options) : null;

    /// <summary>Microseconds from the launch until the answer.</summary>
    public double Measure(CancellationToken cancellation)
    {
        var started = Stopwatch.GetTimestamp();
        using var worker = SnapshotCreator.LaunchAndWait(new WorkerLauncher(_sandboxes), _request, ReadinessSpec.From(_manifest.Readiness), launched: () => { }, cancellation);
        worker.SendRequest("cold", _options.PayloadJson);
        _probe.Await(worker.Channel, worker.Sandbox.OpenNetworkNamespace);
        return Stopwatch.GetElapsedTime(started).TotalMicroseconds;
    }

    public void Dispose() => _sandboxes.Dispose();
}
