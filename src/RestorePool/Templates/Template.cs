using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Templates;

/// <summary>A snapshot brought back to memory: a process with the frozen address space that runs no application code and forks clones on order.</summary>
/// <remarks>
/// <code>
/// 1. Check that this host can run the snapshot: CPU features, state size, vDSO, mapped files unchanged.
/// 2. Compile the programs; lay them out in a gap of the snapshot's address space.
/// 3. Start a husk with them; it unmaps itself and maps the snapshot's address space, then waits.
/// 4. Write the page contents into it, and what makes OpenSSL seed anew; let it go on to attributes and handlers.
/// 5. From then on: an order with a sandbox and the clone's descriptors makes it fork, and report.
/// </code>
/// Thread-safe: orders are carried out one after the other. A clone that fails to start leaves the template as it was.
/// </remarks>
public sealed class Template : IDisposable
{
    private readonly Husk _husk;
    private readonly Lock _gate = new();
    private readonly string _name;
    private ulong _orders;

    private Template(string name, Husk husk, CompiledPrograms programs, ProcessImage process, TimeSpan buildTime, long bytesLoaded)
    {
        _name = name;
        _husk = husk;
        Programs = programs;
        Externals = ExternalPlan.For(process);
        BuildTime = buildTime;
        BytesLoaded = bytesLoaded;
    }

    /// <summary>In our PID namespace.</summary>
    public int Pid => _husk.Pid;

    /// <summary>Readable when the template has died.</summary>
    public SafeFileHandle PidFd => _husk.PidFd;

    public TimeSpan BuildTime { get; }

    /// <summary>Bytes of page contents in the template.</summary>
    public long BytesLoaded { get; }

    /// <summary>The programs it was built and makes clones with.</summary>
    public CompiledPrograms Programs { get; }

    /// <summary>The descriptors that come with every order, in this order.</summary>
    public IReadOnlyList<ExternalSlot> Externals { get; }

    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    /// <exception cref="ProgramFailedException">The kernel refused a step; names the call and the object.</exception>
    /// <exception cref="ImageException">The image is damaged.</exception>
    public static Template Build(SnapshotImage image)
    {
        var clock = Stopwatch.StartNew();
        HostCheck.Require(image.Manifest);
        var process = image.Manifest.Processes[0];
        var name = image.Name ?? image.Digest.ToString();
        var forkDetection = ForkDetectionPlan.For(image.Manifest);
        var programs = CompiledPrograms.Compile(image.Manifest, forkDetection);
        var husk = programs.Start();
        try
        {
            AwaitReady(husk, programs, name);
            var loader = new PageLoader(image.Pages, husk.Pid, husk.PidFd);
            loader.Load(process, programs.Contents, programs.Plan.Contents);
            ForkDetectionPatch.Apply(husk.Pid, forkDetection, process, programs.Plan.ForkIdentity.Start + ForkIdentityFunction.EntryOffset);
            husk.Send(stackalloc byte[sizeof(ulong)]);
            AwaitReady(husk, programs, name);
            return new Template(name, husk, programs, process, clock.Elapsed, loader.BytesLoaded);
        }
        catch
        {
            husk.Dispose();
            throw;
        }
    }

    /// <summary>Forks one clone into <paramref name="sandbox"/>; returns when its next step is application code.</summary>
    /// <param name="descriptors">One for each of <see cref="Externals"/>.</param>
    /// <exception cref="CloneStartException">The clone could not start; nothing of it is left but the sandbox, and the template is as it was.</exception>
    internal StartedClone Fork(Sandbox sandbox, ReadOnlySpan<SafeFileHandle> descriptors)
    {
        Span<byte> message = stackalloc byte[CloneTimestamps.MessageBytes];
        Span<byte> order = stackalloc byte[sizeof(ulong)];
        SafeFileHandle[] attached = [.. descriptors, sandbox.PidFd];
        lock (_gate)
        {
            OrderBuffer.Encode(++_orders, order);
            _husk.Send(order, attached);
            return AwaitClone(_orders, message);
        }
    }

    /// <summary>Time of a fork of the template that runs no clone program, from the order's arrival until the child's first step, in microseconds.</summary>
    /// <param name="sandbox">Lends its PID namespace; it may be the same every time.</param>
    public double MeasureBareForkMicroseconds(Sandbox sandbox)
    {
        Span<byte> message = stackalloc byte[CloneTimestamps.MessageBytes];
        Span<byte> order = stackalloc byte[sizeof(ulong)];
        OrderBuffer.Encode(TemplateOrder.BareFork, order);
        lock (_gate)
        {
            _husk.Send(order, sandbox.PidFd);
            var started = AwaitClone(TemplateOrder.BareFork, message);
            _ = started.Process.WaitForExit();
            started.Process.Dispose();
            return (started.Times.RunningNanoseconds - started.Times.OrderedNanoseconds) / 1000.0;
        }
    }

    public void Dispose()
    {
        lock (_gate)
            _husk.Dispose();
    }

    /// <summary>
    /// Collects the two reports of an order, which come in either order: Forked from the template, Running or Failed from the clone. A clone that
    /// is killed in between reports nothing; its pidfd tells.
    /// </summary>
    private StartedClone AwaitClone(ulong order, Span<byte> message)
    {
        SpawnedProcess? process = null;
        CloneTimes? times = null;
        HuskReport? failure = null;
        try
        {
            while (process is null || (times is null && failure is null))
            {
                if (process is not null && DiedSilently(process))
                    throw CloneStartException.Died(_name, process.WaitForExit());
                _ = _husk.Receive(message);
                var report = HuskReport.Decode(message);
                if (report.OrderId != order)
                    continue; // Of an order that we gave up waiting for; it must not be taken for this one's.
                switch (report.Tag)
                {
                    case ReportTag.Forked:
                        process = new SpawnedProcess((int)report.Result, Pidfd.Open((int)report.Result));
                        break;
                    case ReportTag.Running:
                        times = CloneTimes.Decode(message);
                        break;
                    case ReportTag.Failed:
                        failure = report;
                        break;
                    case ReportTag.Refused:
                        throw CloneStartException.Failed(_name, Programs.Clone, report);
                    default:
                        throw new InvalidDataException($"template {Pid} sent an unexpected report {report.Tag}");
                }
            }
            return failure is { } failed
                ? throw CloneStartException.Failed(_name, Programs.Clone, failed)
                : new StartedClone(process, times!.Value);
        }
        catch
        {
            process?.Dispose();
            throw;
        }
    }

    private bool DiedSilently(SpawnedProcess process)
    {
        var (report, ended) = Poll.AnyReadable(_husk.Control, process.PidFd, TimeSpan.FromSeconds(60));
        return ended && !report;
    }

    private static void AwaitReady(Husk husk, CompiledPrograms programs, string name)
    {
        var report = husk.ReceiveReport();
        if (report.Tag != ReportTag.Ready)
            throw new ProgramFailedException($"building the template of {name}", programs.Memory, report);
    }
}
