using System.Diagnostics;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;
using Snapshots.RestorePool.Templates;

namespace Snapshots.RestorePool.Layers;

/// <summary>
/// Makes the template of a layer out of its parent's.
/// <code>
/// 1. Compare the two images: which mappings and pages are the same (LayerPlan). Compile the layer's programs, for a region that is free in both.
/// 2. Order a fork of the parent's template. It maps that region, and waits while the programs are written into it; then it continues there.
/// 3. It takes away what the layer does not have, the parent's programs first, maps what is new, and waits while pages are written from outside.
/// 4. Protections, address space numbers, handlers, attributes: as in a template that is built alone. Its address space is compared with the manifest.
/// </code>
/// The parent's template is as it was, whatever happens to the fork.
/// </summary>
/// <remarks>Thread-safe: the parent's forks are made one after the other.</remarks>
internal sealed class LayerBuilder(RestoreOptions options)
{
    private const int SIGKILL = 9;
    private const int BufferBytes = 1 << 20;

    /// <param name="parent">Its template; must not be disposed of meanwhile.</param>
    /// <exception cref="NotLayerableException">The layer differs from its parent in what a fork cannot change.</exception>
    /// <exception cref="HuskDiedException">The parent's template is gone, or the fork; nothing is left of the fork.</exception>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    /// <exception cref="ProgramFailedException">The kernel refused a step; names the call and the object.</exception>
    /// <exception cref="ImageException">The image is damaged.</exception>
    public Template Build(SnapshotImage image, string name, Template parent)
    {
        var clock = Stopwatch.StartNew();
        HostCheck.Require(image.Manifest, options.HostClocks);
        var process = image.Manifest.Processes[0];
        var forkDetection = ForkDetectionPlan.For(image.Manifest);
        var plan = LayerPlan.For(parent.Image, parent.Programs, image);
        var programs = CompiledPrograms.Compile(image.Manifest, forkDetection, plan);
        var husk = Fork(parent, programs, name);
        try
        {
            foreach (var part in programs.Parts())
                ProcessVm.Write(husk.Pid, part.Address, part.Bytes.Span);
            husk.Send(stackalloc byte[sizeof(ulong)]);
            TemplateBuilder.AwaitReady(husk, programs, name);
            var loader = new PageLoader(image.Pages, husk.Pid, husk.PidFd);
            loader.Load(plan.Built, programs.Staging, programs.Contents, programs.Plan.Contents);
            var written = LoadInPlace(husk, image.Pages, plan);
            ForkDetectionPatch.Apply(husk.Pid, forkDetection, process, programs.Plan.ForkIdentity.Start + ForkIdentityFunction.EntryOffset);
            husk.Send(stackalloc byte[sizeof(ulong)]);
            TemplateBuilder.AwaitReady(husk, programs, name);
            RequireAddressSpace(husk.Pid, process, programs.Plan.Whole);
            return new Template(name, husk, programs, image, options, clock.Elapsed, loader.BytesLoaded + written)
            {
                ParentDigest = parent.Image.Digest,
                // No clone has been forked yet: what it shares, it shares with its parent.
                OwnBytes = (long)(ProcessMemory.TryRead(husk.Pid)?.PrivateKib ?? 0) * 1024,
            };
        }
        catch
        {
            husk.Dispose();
            throw;
        }
    }

    /// <summary>A fork of the parent's template that has mapped the layer's region, and waits for the programs to be written there.</summary>
    private static Husk Fork(Template parent, CompiledPrograms programs, string name)
    {
        var order = new LayerOrder(programs.Plan.Whole, programs.Plan.MemoryEntries.Start, programs.Plan.Stub.Start, programs.ControlBlock);
        var (ours, theirs) = SocketPair.SequentialPackets("control socket of a layer's template");
        var husk = default(Husk);
        try
        {
            using (theirs)
            using (var self = Pidfd.Open(Environment.ProcessId))
                husk = Husk.Adopt(parent.ForkLayer(order, self, theirs), ours);
            var report = husk.ReceiveReport();
            return report.Tag == ReportTag.Ready
                ? husk
                : throw new ProgramFailedException($"forking the template of {name} from its parent's", parent.Programs.Clone, report);
        }
        catch (HuskDiedException) when (husk is null)
        {
            ReapStray(ours);
            throw;
        }
        catch
        {
            husk?.Dispose();
            ours.Dispose();
            throw;
        }
    }

    /// <summary>A parent that died between its fork and its report leaves a child of ours that says itself who it is, or closes its socket.</summary>
    private static void ReapStray(SafeFileHandle control)
    {
        Span<byte> message = stackalloc byte[ControlBlock.ReportBytes];
        using (control)
        {
            SocketMessage.SetReceiveTimeout(control, TimeSpan.FromSeconds(10));
            if (SocketMessage.Receive(control, message, out var length) != Errno.None || length < message.Length || HuskReport.Decode(message) is not { Tag: ReportTag.Ready, Result: var pid })
                return;
            using var stray = Pidfd.Open((int)pid);
            _ = Pidfd.SendSignal(stray, SIGKILL); // ESRCH: it ended already, and is still ours to reap.
            _ = WaitId.ForExit(stray, string.Create(CultureInfo.InvariantCulture, $"fork {pid} of a template"));
        }
    }

    /// <summary>Pages of mappings that the fork was born with, through /proc/PID/mem: whatever their protection, the fork gets a copy of its own.</summary>
    private static long LoadInPlace(Husk husk, IPageReader pages, LayerPlan plan)
    {
        foreach (var piece in plan.GrownPieces.Where(piece => (piece.Protection & 3) == 3))
            HugePages.Prepare(husk.Pid, husk.PidFd, piece);
        using var memory = ProcessMemoryWrite.Open(husk.Pid);
        var buffer = new byte[BufferBytes];
        long written = 0;
        foreach (var (range, offset) in plan.Written)
        {
            for (ulong done = 0; done < range.LengthBytes;)
            {
                var piece = buffer.AsSpan(0, (int)Math.Min(BufferBytes, range.LengthBytes - done));
                pages.Read(offset + done, piece);
                ProcessMemoryWrite.Write(memory, husk.Pid, range.Start + done, piece);
                done += (ulong)piece.Length;
            }
            written += (long)range.LengthBytes;
        }
        return written;
    }

    /// <summary>The kernel's list of mappings must be the manifest's: a range too many or too few would meet application code.</summary>
    private static void RequireAddressSpace(int pid, ProcessImage process, AddressRange region)
    {
        var actual = Maps.Read(pid)
            .Where(entry => entry.Range.End.Value <= PageSize.UserAddressLimit && !region.Contains(entry.Range))
            .Select(entry => (entry.Range, (uint)entry.Protection));
        var expected = process.Mappings
            .Where(LayerPlan.IsInTemplate)
            .Select(mapping => (LayerPlan.RangeOf(mapping), mapping.Kind == MappingKind.Vdso ? VdsoProtection : mapping.Protection));
        // The parts of the vDSO have protections of their own; the manifest has it in one piece.
        var vdso = process.Mappings.Where(mapping => mapping.Kind == MappingKind.Vdso).Select(LayerPlan.RangeOf).ToList();
        var found = Joined(actual.Select(entry => vdso.Exists(range => range.Contains(entry.Range)) ? (entry.Range, VdsoProtection) : entry));
        var wanted = Joined(expected);
        if (!found.SequenceEqual(wanted))
            throw new NotLayerableException($"the fork's address space is not the snapshot's: {string.Join(", ", found.Except(wanted).Concat(wanted.Except(found)).Take(4).Select(difference => $"{difference.Range} with protection {difference.Protection}"))}");
    }

    private const uint VdsoProtection = uint.MaxValue;

    /// <summary>Neighbours of one protection in one piece: where the kernel divides mappings depends on their history.</summary>
    private static List<(AddressRange Range, uint Protection)> Joined(IEnumerable<(AddressRange Range, uint Protection)> mappings)
    {
        var joined = new List<(AddressRange Range, uint Protection)>();
        foreach (var (range, protection) in mappings)
        {
            if (joined.Count > 0 && joined[^1] is var last && last.Range.End == range.Start && last.Protection == protection)
                joined[^1] = (new AddressRange(last.Range.Start, range.End), protection);
            else
                joined.Add((range, protection));
        }
        return joined;
    }
}
