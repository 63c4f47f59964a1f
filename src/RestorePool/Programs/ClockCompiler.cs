using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.Sandboxes;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Gives a clone clocks of its own (time_namespaces(7)), so that CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they stood: no timer is overdue
/// because the image lay on disk, and none waits for a time that another host's boot will not reach for weeks.
/// <code>
/// ahead: a new time namespace for the children of the clone; two descriptors, for its offsets and for itself.
/// start: write the offsets, enter it. Only a process with one thread may, and only before anybody entered can the offsets be changed.
/// </code>
/// </summary>
internal sealed class ClockCompiler(ProgramBuilder builder, ControlBlock control)
{
    private const int CurrentDirectory = -100;
    private const int WriteOnlyCloseOnExec = 0x80001;
    private const int ReadOnlyCloseOnExec = 0x80000;

    /// <summary>Where no descriptor of the application lies.</summary>
    private readonly int _offsets = control.ControlDescriptor + 1;
    private readonly int _namespace = control.ControlDescriptor + 2;

    /// <summary>Expects the descriptor table empty but for the control socket, and /proc to be the clone's.</summary>
    public void EmitAhead()
    {
        builder.Syscall(SyscallNumber.Unshare, "clocks of the clone", (ulong)Namespaces.Time);
        EmitOpen("/proc/self/timens_offsets", WriteOnlyCloseOnExec, _offsets);
        EmitOpen("/proc/self/ns/time_for_children", ReadOnlyCloseOnExec, _namespace);
    }

    public void EmitStart(OrderBuffer order)
    {
        var entered = builder.NewLabel("clocks entered");
        builder.JumpIfEqual(entered, StartOrder.TextLength(order), 0);
        builder.Syscall(SyscallNumber.Write, "clock offsets", _offsets, StartOrder.Text(order), StartOrder.TextLength(order));
        builder.Syscall(SyscallNumber.Setns, "clocks of the clone", _namespace, (ulong)Namespaces.Time);
        builder.Mark(entered);
        builder.Syscall(SyscallNumber.CloseRange, "descriptors of the clocks", _offsets, _namespace, 0);
    }

    private void EmitOpen(string path, int flags, int number)
    {
        builder.Syscall(SyscallNumber.Openat, path, CurrentDirectory, builder.Text(path), flags, 0).ExpectValue(0);
        builder.Syscall(SyscallNumber.Dup3, path, 0, number, DescriptorScript.CloseOnExecFlag).ExpectValue(number);
        builder.Syscall(SyscallNumber.Close, path, 0);
    }
}
