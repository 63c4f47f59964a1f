using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Programs;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Descriptors.Tests;

/// <summary>
/// Runs the descriptor stage of an image in a process that does nothing else, inside the namespaces of a sandbox, and captures what it has
/// then: the table that a clone would begin with.
/// </summary>
internal sealed class RestoredTable : IDisposable
{
    private readonly Husk _husk;

    private RestoredTable(Husk husk, CaptureContext context, int entryCount)
    {
        _husk = husk;
        Context = context;
        EntryCount = entryCount;
    }

    /// <summary>What was captured from the process, without the engine's control socket.</summary>
    public CaptureContext Context { get; }

    /// <summary>Entries that the descriptor stage itself took.</summary>
    public int EntryCount { get; }

    public int Pid => _husk.Pid;

    public static RestoredTable From(CaptureContext captured, int namespacesOfPid)
    {
        var process = captured.Image;
        var builder = new ProgramBuilder(SmallHusk.Layout);
        var control = new ControlBlock(builder, DescriptorCompiler.LowestControlDescriptor(process) + 8);
        SmallHusk.EmitPrologue(builder, control);
        EnterNamespaces(builder, namespacesOfPid);
        MakeExternals(builder, process);
        var before = builder.EntryCount;
        DescriptorCompiler.Compile(new DescriptorStage
        {
            Builder = builder,
            Manifest = captured.Manifest,
            Process = process,
            ControlDescriptor = control.ControlDescriptor,
            SharedContents = (id, extent) => ContentsOf(builder, captured, id, extent),
            PrivateContents = (_, _) => throw new InvalidOperationException("the image has no mappings"),
        });
        var entries = builder.EntryCount - before;
        ReportWriter.Emit(builder, control, ReportTag.Ready);
        builder.Syscall(SyscallNumber.Read, "waiting to be ended", control.ControlDescriptor, builder.Word(), 8);
        var program = builder.Build();
        var husk = SmallHusk.Start(program, control);
        try
        {
            AwaitReady(husk, program);
            return new RestoredTable(husk, CaptureFrom(husk, control.ControlDescriptor), entries);
        }
        catch
        {
            husk.Dispose();
            throw;
        }
    }

    private static void EnterNamespaces(ProgramBuilder builder, int pid)
    {
        foreach (var name in new[] { "net", "mnt" })
        {
            var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/ns/{name}");
            builder.Syscall(SyscallNumber.Openat, path, -100, builder.Text(path), 0, 0).ExpectValue(name == "net" ? 0 : 1);
        }
        builder.Syscall(SyscallNumber.Setns, "network namespace", 0, 0);
        builder.Syscall(SyscallNumber.Setns, "mount namespace", 1, 0);
        builder.Syscall(SyscallNumber.CloseRange, "namespaces", 0, 1, 0);
    }

    /// <summary>Stands for the descriptors that a clone receives: each external is an eventfd whose counter says which.</summary>
    private static void MakeExternals(ProgramBuilder builder, ProcessImage process)
    {
        foreach (var (slot, index) in ExternalPlan.For(process).Select((slot, index) => (slot, index)))
            builder.Syscall(SyscallNumber.Eventfd2, $"external {slot.Role}", MarkOf(slot.Role), 0).ExpectValue(index);
    }

    /// <summary>The counter by which <see cref="CaptureFrom"/> knows an external again.</summary>
    private static int MarkOf(ExternalRole role) => 1_000_000 + (int)role;

    private static VirtualAddress ContentsOf(ProgramBuilder builder, CaptureContext captured, uint id, int extent)
    {
        var (memory, path) = captured.SharedMemory.Sources.Single(source => source.Object.Id == id);
        var pages = memory.Extents[extent];
        var bytes = new byte[pages.PageCount * PageSize.Bytes];
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        _ = RandomAccess.Read(file, bytes, (long)(pages.PageIndex * PageSize.Bytes));
        return builder.Data(bytes);
    }

    private static void AwaitReady(Husk husk, RestoreProgram program)
    {
        var report = husk.ReceiveReport();
        if (report.Tag == ReportTag.Ready)
            return;
        var entry = program.EntryAt(report.Entry);
        throw new InvalidOperationException($"{entry?.OperationName}({string.Join(", ", entry?.Operands.Select(operand => operand.Value) ?? [])}) on {entry?.Subject}: {report.Result}");
    }

    private static CaptureContext CaptureFrom(Husk husk, int controlDescriptor)
    {
        using var pidFd = Pidfd.Open(husk.Pid);
        using var control = Pidfd.GetDescriptor(pidFd, controlDescriptor);
        var status = FileStatus.Of(control, "control socket");
        var context = Captures.Of(husk.Pid, new Dictionary<ObjectIdentity, ExternalRole> { [new ObjectIdentity(status.Device, status.Inode)] = ExternalRole.Unspecified });
        var image = context.Image;
        var entry = image.Descriptors.Single(entry => entry.Fd == (uint)controlDescriptor);
        image.Descriptors.Remove(entry);
        image.OpenFiles.Remove(image.OpenFiles.Single(file => file.Id == entry.OpenFile));
        foreach (var file in image.OpenFiles.Where(file => file.EventFd?.Counter is > 1_000_000 and < 1_000_010))
            file.External = new External { Role = (ExternalRole)(file.EventFd.Counter - 1_000_000) };
        return context;
    }

    public void Dispose() => _husk.Dispose();
}
