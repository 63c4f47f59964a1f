using Snapshots.AddressSpace;
using Snapshots.Linux;

namespace Snapshots.Programs;

/// <summary>The layout and first steps that husks share which run a small program of ours and no snapshot.</summary>
public static class SmallHusk
{
    private const ulong BaseAddress = 0x2_0000_0000;
    private const ulong EntriesBytes = 64 * 1024;
    private const ulong DataBytes = 4 * 1024 * 1024;
    private const int SIG_SETMASK = 2;
    private const int ReadExecute = 5;
    private const int ReadWrite = 3;

    /// <summary>Stub, 64 KiB of entries, and data enough for the largest argument list execve(2) accepts in practice.</summary>
    public static ProgramLayout Layout { get; } = LayoutAt(new VirtualAddress(BaseAddress));

    /// <summary>Starts a husk with <paramref name="program"/>; it begins at the first entry.</summary>
    public static Husk Start(RestoreProgram program, ControlBlock control)
    {
        var layout = program.Layout;
        var range = new AddressRange(layout.Stub.Start, layout.Data.End);
        return Husk.Start(
            range,
            [new ProgramPart(layout.Stub.Start, Stub.Code.ToArray()), new ProgramPart(layout.Entries.Start, program.EncodedEntries), new ProgramPart(layout.Data.Start, program.Data)],
            layout.Entries.Start,
            control.Address);
    }

    /// <summary>First entries of every husk: block all signals, narrow the protections, and keep no descriptor but the control socket, moved to its place.</summary>
    public static void EmitPrologue(ProgramBuilder builder, ControlBlock control)
    {
        var layout = builder.Layout;
        builder.Syscall(SyscallNumber.RtSigprocmask, "all signals blocked", SIG_SETMASK, builder.Word(ulong.MaxValue), 0, 8);
        builder.Syscall(SyscallNumber.Mprotect, "stub", layout.Stub.Start, layout.Stub.LengthBytes, ReadExecute);
        builder.Syscall(SyscallNumber.Mprotect, "program", layout.Entries.Start, layout.Data.End - layout.Entries.Start, ReadWrite);
        const int CloseOnExec = 0x80000;
        if (control.ControlDescriptor != Husk.InitialControlDescriptor)
            builder.Syscall(SyscallNumber.Dup3, "control socket", Husk.InitialControlDescriptor, control.ControlDescriptor, CloseOnExec);
        builder.Syscall(SyscallNumber.CloseRange, "inherited descriptors", 0, control.ControlDescriptor - 1, 0);
        builder.Syscall(SyscallNumber.CloseRange, "inherited descriptors", control.ControlDescriptor + 1, uint.MaxValue, 0);
    }

    private static ProgramLayout LayoutAt(VirtualAddress start)
    {
        var stub = AddressRange.FromLength(start, PageSize.Bytes);
        var entries = AddressRange.FromLength(stub.End, EntriesBytes);
        return new ProgramLayout(stub, entries, AddressRange.FromLength(entries.End, DataBytes));
    }
}
