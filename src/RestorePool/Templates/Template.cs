using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Layers;
using Snapshots.RestorePool.Paging;
using Snapshots.RestorePool.Programs;
using Snapshots.RestorePool.WorkingSets;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Templates;

/// <summary>A snapshot brought back to memory: a process with the frozen address space that runs no application code and forks clones on order.</summary>
/// <remarks>
/// <code>
/// 1. Check that this host can run the snapshot: CPU features, state size, vDSO, mapped files unchanged.
/// 2. Compile the programs; lay them out in a gap of the snapshot's address space.
/// 3. Start a husk with them; it unmaps itself and maps the snapshot's address space, then waits.
/// 4. Write the page contents into it, and what makes OpenSSL seed anew; let it go on to attributes and handlers.
///    (The template of a layer is a fork of its parent's instead: Layers/LayerBuilder.)
/// 5. From then on: an order with a sandbox and a socket makes it fork a child, which talks through that socket by itself.
/// </code>
/// Thread-safe: forks are made one after the other, their children go on side by side. A clone that fails to start leaves the template as it was.
/// </remarks>
public sealed class Template : IDisposable
{
    /// <summary>Of a working set; they take nothing but entries in page tables, one page of those for 512.</summary>
    private const ulong MostFilePages = 16 * 1024;

    private readonly Husk _husk;
    private readonly Lock _gate = new();
    private readonly byte[] _message = new byte[CloneTimestamps.MessageBytes];
    private readonly ulong _mostPrefaultedPages;
    private readonly int _nice;
    private int _isBack;
    private bool _disposed;
    private ulong _orders;

    /// <param name="husk">Waits for orders; becomes the template's.</param>
    /// <param name="image">Open as long as the template is.</param>
    internal Template(string name, Husk husk, CompiledPrograms programs, SnapshotImage image, RestoreOptions options, TimeSpan buildTime, long bytesLoaded)
    {
        var manifest = image.Manifest;
        Name = name;
        Image = image;
        _husk = husk;
        Programs = programs;
        Externals = ExternalPlan.For(manifest.Processes[0]);
        Clocks = options.HostClocks ? null : manifest.Clocks;
        _mostPrefaultedPages = options.PrefaultedPages;
        BuildTime = buildTime;
        BytesLoaded = bytesLoaded;
        _nice = manifest.Processes[0].Threads[0].Scheduling?.Nice ?? 0;
        WorkingSetRecorder = new WorkingSetRecorder(manifest.Processes[0], SetWorkingSet);
    }

    /// <summary>Of the snapshot, for messages.</summary>
    public string Name { get; }

    /// <summary>In our PID namespace.</summary>
    public int Pid => _husk.Pid;

    /// <summary>Readable when the template has died.</summary>
    public SafeFileHandle PidFd => _husk.PidFd;

    public TimeSpan BuildTime { get; }

    /// <summary>Bytes of page contents in the template.</summary>
    public long BytesLoaded { get; }

    /// <summary>The snapshot whose template it is a fork of; null when it was built alone.</summary>
    public SnapshotDigest? ParentDigest { get; internal init; }

    /// <summary>Resident memory that it did not share with its parent when it was built, in bytes; null when it has no parent.</summary>
    internal long? OwnBytes { get; init; }

    /// <summary>What it was built from.</summary>
    internal SnapshotImage Image { get; }

    /// <summary>The programs it was built and makes clones with.</summary>
    public CompiledPrograms Programs { get; }

    /// <summary>The descriptors that come with every start order, in this order.</summary>
    public IReadOnlyList<ExternalSlot> Externals { get; }

    /// <summary>Learns from the first clones which pages all of them touch.</summary>
    internal WorkingSetRecorder WorkingSetRecorder { get; }

    /// <summary>Null when all of its memory is there.</summary>
    internal LazyMemory? Lazy { get; init; }

    /// <summary>What the clocks of a clone begin with; null gives clones the host's clocks.</summary>
    internal Clocks? Clocks { get; }

    /// <summary>
    /// Forks a child into <paramref name="sandbox"/>, which goes on by itself: it builds its threads and waits for its start order on
    /// <paramref name="controlSocket"/>, where it also reports.
    /// </summary>
    /// <exception cref="CloneStartException">The kernel refused the fork; the template is as it was.</exception>
    /// <exception cref="HuskDiedException">The template is gone; a child may have been born all the same.</exception>
    /// <param name="inBackground">Nobody waits for the child: the fork gives way to whatever else runs.</param>
    /// <param name="lazy">Takes the child's missing pages; null when the template is complete.</param>
    internal SpawnedProcess Fork(Sandbox sandbox, SafeFileHandle controlSocket, bool inBackground, LazyClone? lazy)
    {
        Span<byte> order = stackalloc byte[BirthOrder.Bytes];
        // Somebody waits: a fork in the background that holds the gate hurries up too.
        if (!inBackground)
            StepForward();
        lock (_gate)
        {
            if (inBackground)
                StepBack();
            else
                StepForward();
            BirthOrder.Encode(++_orders, toBeParked: inBackground, order);
            Lazy?.Expect(lazy);
            _husk.Send(order, sandbox.PidFd, controlSocket);
            return Born(AwaitReport(_orders));
        }
    }

    /// <summary>Forks a child that is to become the template of a layer: a child of ours, in our PID namespace, that reports through its own socket.</summary>
    /// <param name="self">A pidfd of our own process.</param>
    /// <param name="controlSocket">The child's end.</param>
    /// <returns>The child's pid in our PID namespace; it is the caller's to reap.</returns>
    /// <exception cref="CloneStartException">The kernel refused the fork; the template is as it was.</exception>
    /// <exception cref="HuskDiedException">The template is gone; a child may have been born all the same.</exception>
    internal int ForkLayer(LayerOrder order, SafeFileHandle self, SafeFileHandle controlSocket)
    {
        Span<byte> message = stackalloc byte[LayerOrder.Bytes];
        order.Encode(message);
        lock (_gate)
        {
            StepForward();
            _husk.Send(message, self, controlSocket);
            return PidOfBorn(AwaitReport(LayerOrder.Id));
        }
    }

    /// <summary>Time of a fork of the template that runs no clone program, from the order's arrival until the child's first step, in microseconds.</summary>
    /// <param name="sandbox">Lends its PID namespace; it may be the same every time.</param>
    public double MeasureBareForkMicroseconds(Sandbox sandbox)
    {
        Span<byte> order = stackalloc byte[BirthOrder.Bytes];
        BirthOrder.Encode(BirthOrder.BareFork, toBeParked: false, order);
        lock (_gate)
        {
            Lazy?.Expect(null);
            _husk.Send(order, sandbox.PidFd);
            // The template reports Forked and the child Running, over the same socket and in either order.
            SpawnedProcess? child = null;
            CloneTimes? times = null;
            while (child is null || times is null)
            {
                var report = AwaitReport(BirthOrder.BareFork);
                if (report.Tag == ReportTag.Running)
                    times = CloneTimes.Decode(_message, clockOffsetNanoseconds: 0);
                else
                    child = Born(report);
            }
            _ = child.WaitForExit();
            child.Dispose();
            return (times.Value.RunningNanoseconds - times.Value.OrderedNanoseconds) / 1000.0;
        }
    }

    /// <summary>Gives every clone that is born from now on what the first ones touched, before it asks for it.</summary>
    internal void SetWorkingSet(WorkingSet set)
    {
        // A hole costs a copy of a page that may never be written, or an entry for a page that lies in the page cache anyway.
        var written = PageRanges.Of(PageRanges.PagesOf(set.Written), largestHolePages: 1, PrefaultTable.MaxWrittenRanges, _mostPrefaultedPages);
        var read = PageRanges.Of(PageRanges.PagesOf(set.FilePages), largestHolePages: 16, PrefaultTable.MaxFileRanges, _mostPrefaultedPages == 0 ? 0 : MostFilePages);
        // Between orders the template reads nothing but its socket.
        lock (_gate)
        {
            // A clone may answer when its template is long gone, and its pid somebody else's.
            if (!HasEnded)
                ProcessVm.Write(Pid, Programs.PrefaultTable, PrefaultTable.Encode(read, written));
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
            _husk.Dispose();
            Lazy?.CloseTemplate();
        }
    }

    internal bool HasEnded => _disposed || Poll.IsReadable(PidFd, TimeSpan.Zero);

    private void StepBack()
    {
        if (SchedulingCompiler.MayStepBack && Interlocked.Exchange(ref _isBack, 1) == 0 && !HasEnded)
            _ = Priority.Set(Pid, Priority.Lowest); // ESRCH: the order will tell.
    }

    private void StepForward()
    {
        if (Interlocked.Exchange(ref _isBack, 0) == 1 && !HasEnded)
            _ = Priority.Set(Pid, _nice); // ESRCH: the order will tell.
    }

    /// <summary>The next report about <paramref name="order"/>; those of an order that we gave up waiting for must not be taken for this one's.</summary>
    private HuskReport AwaitReport(ulong order)
    {
        while (true)
        {
            _ = _husk.Receive(_message);
            var report = HuskReport.Decode(_message);
            if (report.OrderId == order)
                return report;
        }
    }

    private SpawnedProcess Born(HuskReport report)
    {
        var pid = PidOfBorn(report);
        return new SpawnedProcess(pid, Pidfd.Open(pid));
    }

    private int PidOfBorn(HuskReport report) => report.Tag switch
    {
        ReportTag.Forked => (int)report.Result,
        ReportTag.Refused => throw CloneStartException.Failed(Name, Programs.Clone, report),
        ReportTag.Failed => throw new HuskDiedException(Pid, new ProgramFailedException($"taking orders as the template of {Name}", Programs.Clone, report).Message),
        _ => throw new InvalidDataException($"template {Pid} sent an unexpected report {report.Tag}"),
    };
}
