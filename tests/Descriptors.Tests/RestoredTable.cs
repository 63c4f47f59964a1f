using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Programs;
using Snapshots.Snapshotter.Capture;
using Xunit;

namespace Snapshots.Descriptors.Tests;

/// <summary>
/// Runs the descriptor stage of an image in a process that does nothing else, inside the namespaces of a sandbox, and captures what it has
/// then: the table that a clone would begin with.
/// </summary>
internal sealed class RestoredTable : IDisposable
{
    /// <summary>What the first program of a sandbox gets, behind its init.</summary>
    private const uint SubjectPid = 2;

    private const ulong FirstMark = 1_000_000;

    private readonly Husk _husk;

    private readonly SafeFileHandle _child;

    private readonly int _pid;
    private readonly int _controlDescriptor;

    private RestoredTable(Husk husk, int pid, int controlDescriptor)
    {
        _husk = husk;
        _pid = pid;
        _child = Pidfd.Open(pid);
        _controlDescriptor = controlDescriptor;
        Context = Recapture();
    }

    /// <summary>What was captured from the process, without the engine's control socket.</summary>
    public CaptureContext Context { get; }

    public static RestoredTable From(CaptureContext captured, int sandboxInit)
    {
        var process = captured.Image;
        var builder = new ProgramBuilder(SmallHusk.Layout);
        var control = new ControlBlock(builder, DescriptorCompiler.LowestControlDescriptor(process) + 8);
        SmallHusk.EmitPrologue(builder, control);
        BecomeChildIn(builder, sandboxInit);
        var descriptors = new DescriptorCompiler(new DescriptorStage
        {
            Builder = builder,
            Manifest = captured.Manifest,
            Process = process,
            ControlDescriptor = control.ControlDescriptor,
            SharedContents = (id, extent) => ContentsOf(builder, captured, id, extent),
            PrivateContents = (_, _) => throw new InvalidOperationException("the image has no mappings"),
        });
        descriptors.CompileAhead();
        MakeExternals(builder, process);
        descriptors.CompileRest();
        ReportWriter.Emit(builder, control, ReportTag.Ready);
        builder.Syscall(SyscallNumber.Read, "waiting to be ended", control.ControlDescriptor, builder.Word(), 8);
        var program = builder.Build();
        var husk = SmallHusk.Start(program, control);
        try
        {
            AwaitReady(husk, program);
            var child = int.Parse(File.ReadAllText($"/proc/{husk.Pid}/task/{husk.Pid}/children"), CultureInfo.InvariantCulture);
            return new RestoredTable(husk, child, control.ControlDescriptor);
        }
        catch
        {
            husk.Dispose();
            throw;
        }
    }

    /// <summary>Forks into the sandbox's namespaces, where the child has the pid that subjects have; the parent waits to be ended.</summary>
    private static void BecomeChildIn(ProgramBuilder builder, int sandboxInit)
    {
        var names = new[] { "net", "mnt", "pid" };
        for (var i = 0; i < names.Length; i++)
        {
            var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{sandboxInit}/ns/{names[i]}");
            builder.Syscall(SyscallNumber.Openat, path, -100, builder.Text(path), 0, 0).ExpectValue(i);
        }
        for (var i = 0; i < names.Length; i++)
            builder.Syscall(SyscallNumber.Setns, $"{names[i]} namespace", i, 0);
        builder.Syscall(SyscallNumber.CloseRange, "namespaces", 0, names.Length - 1, 0);
        var child = builder.NewLabel("child");
        var arguments = new CloneArguments { Flags = 0, RequestedTid = SubjectPid };
        builder.Syscall(SyscallNumber.Clone3, "child", arguments.Place(builder), CloneArguments.SizeBytes);
        builder.JumpIfLastZero(child);
        const int AnyKindOfChild = 0x4000_0000; // __WALL
        builder.Syscall(SyscallNumber.Wait4, "child", -1, 0, AnyKindOfChild, 0);
        builder.Syscall(SyscallNumber.ExitGroup, "end", 0);
        builder.Mark(child);
    }

    /// <summary>Stands for the descriptors that a clone receives: each external is an eventfd whose counter says which.</summary>
    private static void MakeExternals(ProgramBuilder builder, ProcessImage process)
    {
        foreach (var (slot, index) in ExternalPlan.For(process).Select((slot, index) => (slot, index)))
            builder.Syscall(SyscallNumber.Eventfd2, $"external {slot.Role}", MarkOf(slot.Role), 0).ExpectValue(index);
    }

    /// <summary>The counter by which <see cref="Recapture"/> knows an external again.</summary>
    private static int MarkOf(ExternalRole role) => (int)FirstMark + (int)role;

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

    /// <summary>Captures the descriptors as they are now.</summary>
    public CaptureContext Recapture()
    {
        using var control = Pidfd.GetDescriptor(_child, _controlDescriptor);
        var status = FileStatus.Of(control, "control socket");
        var context = Captures.Of(_pid, new Dictionary<ObjectIdentity, ExternalRole> { [new ObjectIdentity(status.Device, status.Inode)] = ExternalRole.Unspecified });
        var image = context.Image;
        var entry = image.Descriptors.Single(entry => entry.Fd == (uint)_controlDescriptor);
        image.Descriptors.Remove(entry);
        image.OpenFiles.Remove(image.OpenFiles.Single(file => file.Id == entry.OpenFile));
        foreach (var file in image.OpenFiles.Where(file => file.EventFd?.Counter is > FirstMark and < FirstMark + 10))
            file.External = new External { Role = (ExternalRole)(file.EventFd.Counter - FirstMark) };
        return context;
    }

    /// <summary>Ends the child; its parent reaps it and ends too, which closes the last end of the control socket.</summary>
    public void Dispose()
    {
        const int SIGKILL = 9;
        Assert.Equal(Errno.None, Pidfd.SendSignal(_child, SIGKILL));
        _child.Dispose();
        Assert.False(_husk.TryReceiveReport(out _));
        _husk.Dispose();
    }
}
