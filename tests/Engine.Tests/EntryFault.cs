using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;

namespace Snapshots.Engine.Tests;

/// <summary>Makes one entry of a program, in the memory of one process, a system call that no kernel knows; <see cref="Dispose"/> puts it back where the process still lives.</summary>
internal sealed class EntryFault : IDisposable
{
    private const int EntryBytes = 96;
    private static readonly byte[] s_unknownCall = [0xff, 0xff, 0, 0];
    private readonly int _pid;
    private readonly AddressSpace.VirtualAddress _address;
    private readonly byte[] _original;

    public EntryFault(RestoreProgram program, int pid, int index)
    {
        _pid = pid;
        _address = program.Layout.Entries.Start + ((ulong)index * EntryBytes);
        _original = program.EncodedEntries.AsSpan(index * EntryBytes, sizeof(uint)).ToArray();
        ProcessVm.Write(pid, _address, s_unknownCall);
    }

    public void Dispose()
    {
        try
        {
            ProcessVm.Write(_pid, _address, _original);
        }
        catch (LinuxException gone) when (gone.Errno == Errno.ESRCH)
        {
            // It died of the fault, as it was meant to.
        }
    }
}
