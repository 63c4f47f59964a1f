using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;
using Snapshots.Snapshotter.Descriptors;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter;

/// <summary>
/// Takes a running process apart into an image.
/// <code>
/// 1. Refuse what cannot be a target at all: no such process, ourselves, a kernel thread, a zombie. Make buffers ready.
/// 2. Stop every thread (ptrace, on a thread of its own), outside the stub if it is a clone that has just started.
/// 3. Read its clocks. Look for what stands against a snapshot of the whole: children, filters, foreign namespaces.
/// 4. Threads: registers, masks, pending signals, rseq; then the process: layout, limits, credentials, directories.
/// 5. Ask inside the target, by system calls run in its threads, what only they can tell: alternate stacks, handlers, timers, brk.
///    From here on the target holds no trace of that.
/// 6. Descriptors. Mappings, and which of their pages are the target's own.
/// 7. If anything was refused: let the target go and report all of it.
/// 8. Read the pages, then the memory objects, into the image; for a layer only the pages that it does not share with its template any more.
/// 9. Let the target go and publish the image; or publish it, and kill the target in its stop.
/// </code>
/// On every way out, our own death included, the target is let go and runs on as it was: the only stop it is ever in is the tracer's, which
/// ends with the tracer. Only after its image was published without <see cref="FreezeTarget.KeepRunning"/> it is killed.
/// </summary>
public static class Freeze
{
    /// <exception cref="FreezeRefusedException">The process holds what cannot be snapshotted: all of it is listed.</exception>
    /// <exception cref="TracingException">It cannot be traced or stopped, or ended meanwhile.</exception>
    /// <exception cref="LinuxException">The kernel refused what it should not: missing privilege, or the process ended.</exception>
    /// <exception cref="ImageException">Pages cannot be written, or the image cannot be published.</exception>
    public static FreezeResult Run(FreezeTarget target, ImageWriter writer, string name)
    {
        var status = RequireTarget(target.Pid);
        // A layer reads little beside what its process has for itself.
        writer.Prepare(target.Base is null ? (status.RssAnonKib + status.RssShmemKib) * 1024 : PrivateBytes(target.Pid));
        using var pidFd = Pidfd.Open(target.Pid);
        var context = new CaptureContext
        {
            Pid = target.Pid,
            PidFd = pidFd,
            Image = new ProcessImage(),
            Manifest = target.Manifest,
            Files = new FileTable(target.Manifest),
            SharedMemory = new SharedMemoryTable(target.Manifest),
            Externals = target.Externals,
        };
        return TracerThread.Run($"freeze {target.Pid}", () => RunStopped(target, context, writer, name));
    }

    private static ProcStatus RequireTarget(int pid)
    {
        if (pid == Environment.ProcessId)
            throw Refused(pid, "a process cannot freeze itself", "Name another process.");
        ProcStatus status;
        try
        {
            status = ProcStatus.Read(pid);
        }
        catch (LinuxException gone) when (gone.Errno == Errno.ESRCH)
        {
            throw Refused(pid, "there is no such process", "Look the process up again, e.g. with ps.");
        }

        if (status.ThreadGroupId != pid)
            throw Refused(pid, $"it is a thread of process {status.ThreadGroupId}", $"Name {status.ThreadGroupId}.");
        if (status.State is 'Z' or 'X')
            throw Refused(pid, "it has ended already", "Look the process up again, e.g. with ps.");
        if (status.IsKernelThread || ProcFile.TryRead($"/proc/{pid}/auxv", out var auxv) != Errno.None || auxv.Length == 0)
            throw Refused(pid, "it has no memory of its own: a kernel thread, or a process that is ending", "Name a process that runs a program.");
        return status;
    }

    private static FreezeRefusedException Refused(int pid, string what, string cure) => new([new FreezeProblem(pid, "process", what, cure)]);

    private static FreezeResult RunStopped(FreezeTarget target, CaptureContext context, ImageWriter writer, string name)
    {
        using var process = StubExit.Stop(target.Pid);
        target.Manifest.Clocks = ClocksOf(target.Pid);
        using var memory = new TargetMemory(target.Pid);
        using var pagemap = PagemapScan.Open(target.Pid);
        new Preconditions(context, process).Check();
        CaptureState(context, process, memory);
        DescriptorCapture.Capture(context);
        var mappings = new MemoryCapture(context, memory, pagemap);
        mappings.Capture();
        if (context.Problems.Count > 0)
            throw new FreezeRefusedException(context.Problems);

        using var unchanged = target.Base is { } layerBase ? new UnchangedPages(layerBase, target.Pid) : null;
        var pages = new PageCapture(target.Pid, memory, writer, unchanged);
        pages.Capture(mappings.Contents);
        pages.Capture(context.SharedMemory.Sources);
        // Before the time is taken: whoever is kept running waits for nothing that can be done afterwards.
        if (target.KeepRunning)
            process.Resume();
        var stopped = process.StoppedFor;
        Complete(target, context, mappings.ResidentBytes, stopped);
        if (target.Base is { } parent)
            target.Manifest.Layer = new LayerOrigin { ParentSha256 = ByteString.CopyFrom(Convert.FromHexString(parent.Parent.Digest.Hex)), ParentName = parent.Parent.Name ?? string.Empty, UnchangedBytes = pages.UnchangedBytes };
        var digest = writer.Commit(name, target.Manifest);
        if (!target.KeepRunning)
            process.Kill();
        return new FreezeResult(target.Manifest, digest, stopped);
    }

    private static ulong PrivateBytes(int pid) => (ProcessMemory.TryRead(pid)?.PrivateKib ?? 0) * 1024;

    private static Clocks ClocksOf(int pid)
    {
        var offsets = TimeNamespaceOffsets.Of(pid);
        var (monotonic, boottime) = TimeNamespaceOffsets.HostClocks();
        return new Clocks { MonotonicNs = monotonic + offsets.MonotonicNanoseconds, BoottimeNs = boottime + offsets.BoottimeNanoseconds };
    }

    private static void CaptureState(CaptureContext context, StoppedProcess process, TargetMemory memory)
    {
        var threads = new ThreadCapture(context, process, memory);
        var attributes = new ProcessCapture(context, process);
        threads.Capture();
        attributes.Capture();
        if (!process.Threads.All(thread => thread.ReadRegisters().IsLongMode))
            return; // refused above; no system call of ours can run in 32-bit code
        using var remote = RemoteSyscalls.Open(process, memory);
        threads.CaptureRemote(remote);
        attributes.CaptureRemote(remote);
        remote.Close();
    }

    private static void Complete(FreezeTarget target, CaptureContext context, ulong residentBytes, TimeSpan stopped)
    {
        target.Manifest.Processes.Add(context.Image);
        target.Manifest.Statistics ??= new FreezeStatistics();
        target.Manifest.Statistics.StoppedMicroseconds = (ulong)stopped.TotalMicroseconds;
        target.Manifest.Statistics.ResidentBytes = residentBytes;
    }
}
