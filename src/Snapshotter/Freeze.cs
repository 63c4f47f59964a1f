using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;
using Snapshots.Snapshotter.Descriptors;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter;

/// <summary>A process to freeze.</summary>
public sealed record FreezeTarget
{
    /// <summary>In our PID namespace.</summary>
    public required int Pid { get; init; }

    /// <summary>The objects that each clone gets its own of.</summary>
    public required IReadOnlyDictionary<ObjectIdentity, ExternalRole> Externals { get; init; }

    /// <summary>Host, launch and readiness are filled in; the freeze adds the rest.</summary>
    public required Manifest Manifest { get; init; }

    /// <summary>Whether it runs on after a successful freeze. Otherwise it is left stopped (SIGSTOP), for its owner to end once the image is published.</summary>
    public required bool KeepRunning { get; init; }
}

/// <summary>What a freeze found.</summary>
/// <param name="Manifest">Complete but for the page blob, which the writer adds.</param>
/// <param name="Stopped">From the first thread stopped until all was captured.</param>
public sealed record FreezeResult(Manifest Manifest, TimeSpan Stopped);

/// <summary>
/// Freezes one process.
/// <code>
/// 1. Stop every thread (ptrace), from one OS thread.
/// 2. Refuse what a snapshot cannot hold; go on all the same, so that the report is complete.
/// 3. Ask /proc, ptrace, the descriptors, and the process itself (remote system calls) for its state.
/// 4. List its mappings. Anything refused so far: let it go, throw the report.
/// 5. Store its pages.
/// 6. Let it run on, or leave it stopped.
/// </code>
/// Whatever happens on the way, our own death included, the process runs on as it was.
/// </summary>
public static class Freeze
{
    /// <exception cref="FreezeRefusedException">Everything that stands against the snapshot.</exception>
    /// <exception cref="TracingException">It cannot be traced or stopped, or it ended.</exception>
    /// <exception cref="ImageException">The image cannot be written.</exception>
    public static FreezeResult Run(FreezeTarget target, ImageWriter writer) =>
        TracerThread.Run("freeze", () => RunOnTracer(target, writer));

    private static FreezeResult RunOnTracer(FreezeTarget target, ImageWriter writer)
    {
        using var pidFd = Pidfd.Open(target.Pid);
        using var process = StoppedProcess.Stop(target.Pid);
        using var memory = new TargetMemory(target.Pid);
        var manifest = target.Manifest;
        var image = new ProcessImage();
        manifest.Processes.Add(image);
        var context = new CaptureContext
        {
            Pid = target.Pid,
            PidFd = pidFd,
            Image = image,
            Manifest = manifest,
            Files = new FileTable(manifest),
            SharedMemory = new SharedMemoryTable(manifest),
            Externals = target.Externals,
        };
        ProcessRules.Check(context);
        DescriptorCapture.Capture(context);
        var threads = new ThreadCapture(context, process, memory);
        threads.CaptureFromOutside();
        // The scratch mapping of remote calls is gone again before the mappings are listed.
        using (var remote = RemoteSyscalls.Open(process, memory))
        {
            new ProcessCapture(context, process, remote).Capture();
            threads.CaptureRemotely(remote);
        }
        var pages = new MemoryCapture(context, memory, writer);
        pages.CaptureMappings();
        if (context.Problems.Count > 0)
            throw new FreezeRefusedException(context.Problems);
        pages.CapturePages();
        return Finish(target, process, pages);
    }

    private static FreezeResult Finish(FreezeTarget target, StoppedProcess process, MemoryCapture pages)
    {
        var stopped = process.StoppedFor;
        var statistics = target.Manifest.Statistics ??= new FreezeStatistics();
        statistics.StoppedMicroseconds = (ulong)stopped.TotalMicroseconds;
        statistics.ResidentBytes = pages.ResidentBytes;
        // Sent while every thread is still in our stop: none runs in between.
        if (!target.KeepRunning)
            ThreadSignal.SendToProcess(target.Pid, ThreadSignal.SIGSTOP);
        process.Resume();
        return new FreezeResult(target.Manifest, stopped);
    }
}
