using System.Globalization;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;

namespace Snapshots.Sandboxes;

/// <summary>
/// Makes sandboxes. A husk (the spawner) forks one tiny init per sandbox straight into new namespaces; the init becomes our child, so that we
/// reap it, and it ends when our end of its socket closes, so that no sandbox outlives us.
/// </summary>
/// <remarks>Thread-safe; sandboxes are made one after the other.</remarks>
public sealed class SandboxFactory : IDisposable
{
    private const int CLONE_PARENT = 0x8000;
    private const int InitSocket = 0;
    private const int ControlDescriptor = 8;
    private readonly Lock _gate = new();
    private readonly RestoreProgram _program;
    private readonly Husk _spawner;
    private ulong _orders;

    private SandboxFactory(RestoreProgram program, Husk spawner)
    {
        _program = program;
        _spawner = spawner;
    }

    /// <summary>Starts the spawner.</summary>
    /// <exception cref="LinuxException">No process can be made.</exception>
    public static SandboxFactory Start()
    {
        var (program, control) = Compile();
        return new SandboxFactory(program, SmallHusk.Start(program, control));
    }

    /// <summary>A new sandbox: PID (fresh /proc), mount, IPC, UTS and network namespaces, <c>lo</c> up, nothing running but its init.</summary>
    /// <exception cref="ProgramFailedException">The kernel refused a namespace or a mount; names the call.</exception>
    public Sandbox Create()
    {
        var (ours, theirs) = SocketPair.SequentialPackets("sandbox init");
        try
        {
            int pid;
            using (theirs)
            {
                lock (_gate)
                    pid = Fork(theirs);
            }
            return AwaitReady(pid, ours);
        }
        catch
        {
            ours.Dispose();
            throw;
        }
    }

    public void Dispose() => _spawner.Dispose();

    private int Fork(Microsoft.Win32.SafeHandles.SafeFileHandle initSocket)
    {
        Span<byte> order = stackalloc byte[sizeof(ulong)];
        OrderBuffer.Encode(++_orders, order);
        _spawner.Send(order, initSocket);
        var report = _spawner.ReceiveReport();
        return report.Tag == ReportTag.Forked ? (int)report.Result : throw new ProgramFailedException("making a sandbox", _program, report);
    }

    private Sandbox AwaitReady(int pid, Microsoft.Win32.SafeHandles.SafeFileHandle socket)
    {
        var pidFd = Pidfd.Open(pid);
        var sandbox = new Sandbox(pid, pidFd, socket);
        Span<byte> message = stackalloc byte[ControlBlock.ReportBytes];
        var errno = SocketMessage.Receive(socket, message, out var length);
        if (errno == Errno.None && length == message.Length)
        {
            var report = HuskReport.Decode(message);
            if (report.Tag == ReportTag.Ready)
                return sandbox;
            sandbox.Dispose();
            throw new ProgramFailedException(string.Create(CultureInfo.InvariantCulture, $"preparing sandbox init {pid}"), _program, report);
        }
        sandbox.Dispose();
        throw new HuskDiedException(pid, "the sandbox's init ended before it was ready");
    }

    private static (RestoreProgram Program, ControlBlock Control) Compile()
    {
        var builder = new ProgramBuilder(SmallHusk.Layout);
        var control = new ControlBlock(builder, ControlDescriptor);
        SmallHusk.EmitPrologue(builder, control);
        var orders = new OrderBuffer(builder, control, descriptorCount: 1);
        var next = builder.NewLabel("next order");
        var refused = builder.NewLabel("refused");
        var child = builder.NewLabel("sandbox init");
        builder.Mark(next);
        orders.EmitReceive("next sandbox", closeOnExec: true);
        var pid = builder.Word();
        var arguments = new CloneArguments { Flags = (ulong)Namespaces.All | CLONE_PARENT };
        builder.Syscall(SyscallNumber.Clone3, "sandbox init", arguments.Place(builder), CloneArguments.SizeBytes).StoreTo(pid).OnErrorGoto(refused);
        builder.JumpIfLastZero(child);
        builder.Syscall(SyscallNumber.Close, "init's socket", InitSocket);
        ReportWriter.Emit(builder, control, ReportTag.Forked, Operand.Load64(pid));
        builder.Jump(next);

        builder.Mark(refused);
        builder.Syscall(SyscallNumber.Close, "init's socket", InitSocket);
        ReportWriter.Emit(builder, control, ReportTag.Refused);
        builder.Jump(next);

        builder.Mark(child);
        EmitInit(builder, control);
        return (builder.Build(), control);
    }

    /// <summary>What the init of a sandbox does: from here on it reports to its own socket, not to the spawner's.</summary>
    private static void EmitInit(ProgramBuilder builder, ControlBlock control)
    {
        builder.Store(control.DescriptorWord, InitSocket);
        builder.Syscall(SyscallNumber.CloseRange, "spawner's descriptors", InitSocket + 1, uint.MaxValue, 0);
        SandboxMounts.Emit(builder);
        LoopbackLink.Emit(builder);
        // Orphans of the sandbox become children of its init; SIG_IGN makes the kernel reap them (signal(7)).
        const int SIGCHLD = 17;
        const ulong SIG_IGN = 1;
        builder.Syscall(SyscallNumber.RtSigaction, "SIGCHLD ignored", SIGCHLD, builder.Words(SIG_IGN, 0, 0, 0), 0, 8);
        builder.Store(control.Tag, (int)ReportTag.Ready);
        builder.Syscall(SyscallNumber.Write, "ready", InitSocket, control.Address, ControlBlock.ReportBytes);
        EmitKeep(builder, control);
        EmitEnd(builder);
    }

    /// <summary>Keeps the descriptors that arrive until it is told to close one, and goes on when our end of the socket has closed.</summary>
    private static void EmitKeep(ProgramBuilder builder, ControlBlock control)
    {
        var keep = new OrderBuffer(builder, control, descriptorCount: 1, KeepOrder.PayloadBytes) { Descriptor = InitSocket };
        var next = builder.NewLabel("next descriptor");
        var closed = builder.NewLabel("end of the sandbox");
        builder.Mark(next);
        keep.EmitReceive("descriptor to keep", closeOnExec: true, closed).OnErrorGoto(closed);
        // The number of nobody, or of one that is kept: neither can fail in a way that matters.
        builder.Syscall(SyscallNumber.Close, "descriptor no longer kept", Operand.Load64(keep.Payload)).IgnoreResult();
        builder.Jump(next);
        builder.Mark(closed);
    }

    /// <summary>
    /// Ends everything inside before the kept descriptors close: the end of an init closes them first and kills afterwards, and memory that is
    /// filled through one of them would read as zeros in between.
    /// </summary>
    private static void EmitEnd(ProgramBuilder builder)
    {
        const int SIGKILL = 9;
        // A process that nobody reaps stays in the count, though nothing of it runs any more: ten seconds, which cost next to nothing.
        const ulong LookEveryNanoseconds = 1_000_000;
        const int MostLooks = 10_000;
        var look = builder.NewLabel("look for processes");
        var gone = builder.NewLabel("nothing left inside");
        var looks = builder.Word();
        builder.Mark(look);
        builder.Syscall(SyscallNumber.Kill, "everything inside", -1, SIGKILL).OnErrorGoto(gone);
        builder.Syscall(SyscallNumber.Nanosleep, "processes end", builder.Words(0, LookEveryNanoseconds), 0).IgnoreResult();
        builder.AtomicAdd(looks, 1, "looks");
        builder.JumpIfEqual(gone, Operand.Load64(looks), MostLooks);
        builder.Jump(look);
        builder.Mark(gone);
        builder.Syscall(SyscallNumber.ExitGroup, "end of the sandbox", 0);
    }
}
