// pipe2(2); Linux 2.6.27.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Makes pipes.</summary>
public static unsafe class Pipe
{
    private const long O_CLOEXEC = 0x80000;

    /// <summary>A new close-on-exec pipe, both ends blocking.</summary>
    /// <exception cref="LinuxException">EMFILE, ENFILE: no descriptor left.</exception>
    public static (SafeFileHandle Read, SafeFileHandle Write) Create(string subject)
    {
        var ends = stackalloc int[2];
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Pipe2, (long)ends, O_CLOEXEC), "pipe2", subject);
        return (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
    }
}
