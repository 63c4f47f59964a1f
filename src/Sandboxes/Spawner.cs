using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;

namespace Snapshots.Sandboxes;

/// <summary>Starts a program inside a sandbox as our own child.</summary>
/// <remarks>
/// <code>
/// 1. a husk takes the descriptors and the sandbox's pidfd over its control socket
/// 2. it makes the PID namespace the one of its children, and clones with CLONE_PARENT
/// 3. the child enters the other namespaces, becomes a session leader, lays out its descriptors, unblocks signals, and calls execve
/// 4. execve closes the control socket: end of file tells success, a report tells what failed
/// </code>
/// </remarks>
public static class Spawner
{
    private const int CLONE_PARENT = 0x8000;
    private const int SIG_SETMASK = 2;
    private const ulong ADDR_NO_RANDOMIZE = 0x0004_0000;
    private const int ControlDescriptorMargin = 16;

    /// <exception cref="SpawnException">The program is missing, cannot be executed, or a namespace cannot be entered.</exception>
    public static SpawnedProcess Spawn(this Sandbox sandbox, SpawnRequest request)
    {
        var path = ExecutablePath.Resolve(request);
        var (program, control) = Compile(request, path);
        using var husk = SmallHusk.Start(program, control);
        Span<byte> order = stackalloc byte[sizeof(ulong)];
        OrderBuffer.Encode(1, order);
        SafeFileHandle[] sent = [.. request.Descriptors.OfType<SafeFileHandle>(), sandbox.PidFd];
        husk.Send(order, sent);
        return AwaitExecution(husk, program, path);
    }

    private static SpawnedProcess AwaitExecution(Husk husk, RestoreProgram program, string path)
    {
        SpawnedProcess? process = null;
        HuskReport? failure = null;
        try
        {
            while (husk.TryReceiveReport(out var report))
            {
                if (report.Tag == ReportTag.Forked)
                    process = new SpawnedProcess((int)report.Result, Pidfd.Open((int)report.Result));
                else
                    failure = report;
            }
        }
        catch
        {
            process?.Dispose();
            throw;
        }
        if (failure is null && process is not null)
            return process;
        process?.Dispose();
        throw failure is { } failed
            ? new SpawnException($"cannot start {path}", new ProgramFailedException($"starting {path}", program, failed))
            : new SpawnException($"cannot start {path}: the starting process ended without a report");
    }

    private static (RestoreProgram Program, ControlBlock Control) Compile(SpawnRequest request, string path)
    {
        var builder = new ProgramBuilder(SmallHusk.Layout);
        var control = new ControlBlock(builder, Math.Max(request.Descriptors.Count, Husk.InitialControlDescriptor) + ControlDescriptorMargin);
        var received = request.Descriptors.Count(descriptor => descriptor is not null);
        SmallHusk.EmitPrologue(builder, control);
        new OrderBuffer(builder, control, received + 1).EmitReceive("descriptors", closeOnExec: false);
        var child = builder.NewLabel("program");
        var pid = builder.Word();
        builder.Syscall(SyscallNumber.Setns, "PID namespace", received, (ulong)Namespaces.Pid);
        builder.Syscall(SyscallNumber.Clone3, path, new CloneArguments { Flags = CLONE_PARENT }.Place(builder), CloneArguments.SizeBytes).StoreTo(pid);
        builder.JumpIfLastZero(child);
        ReportWriter.Emit(builder, control, ReportTag.Forked, Operand.Load64(pid));
        builder.Syscall(SyscallNumber.ExitGroup, "starting process", 0);
        builder.Mark(child);
        builder.Syscall(SyscallNumber.Setns, "namespaces of the sandbox", received, (ulong)Namespaces.Enterable);
        builder.Syscall(SyscallNumber.Setsid, "session");
        EmitDescriptors(builder, request.Descriptors, received, control.ControlDescriptor);
        builder.Syscall(SyscallNumber.Chdir, request.WorkingDirectory, builder.Text(request.WorkingDirectory));
        if (request.DisableAslr)
            builder.Syscall(SyscallNumber.Personality, "ADDR_NO_RANDOMIZE", ADDR_NO_RANDOMIZE);
        builder.Syscall(SyscallNumber.RtSigprocmask, "signals unblocked", SIG_SETMASK, builder.Word(), 0, 8);
        builder.Syscall(SyscallNumber.Execve, path, builder.Text(path), Vector(builder, request.Command), Vector(builder, request.Environment));
        return (builder.Build(), control);
    }

    /// <summary>Received descriptors lie at 0..n-1 in ascending order of their targets, so moving the highest first never overwrites one.</summary>
    private static void EmitDescriptors(ProgramBuilder builder, IReadOnlyList<SafeFileHandle?> descriptors, int received, int controlDescriptor)
    {
        var source = received;
        for (var target = descriptors.Count - 1; target >= 0; target--)
        {
            if (descriptors[target] is null)
                continue;
            source--;
            if (source != target)
                builder.Syscall(SyscallNumber.Dup2, $"fd {target}", source, target);
        }
        for (var fd = 0; fd < descriptors.Count; fd++)
        {
            if (descriptors[fd] is null)
                builder.Syscall(SyscallNumber.CloseRange, $"fd {fd}", fd, fd, 0);
        }
        builder.Syscall(SyscallNumber.CloseRange, "descriptors of the start", descriptors.Count, controlDescriptor - 1, 0);
    }

    private static VirtualAddress Vector(ProgramBuilder builder, IReadOnlyList<string> strings)
    {
        var pointers = new ulong[strings.Count + 1];
        for (var i = 0; i < strings.Count; i++)
            pointers[i] = builder.Text(strings[i]).Value;
        return builder.Words(pointers);
    }
}
