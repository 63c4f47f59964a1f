// socketpair(2), unix(7).
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Makes connected pairs of unix sockets.</summary>
public static unsafe class SocketPair
{
    private const int AF_UNIX = 1;
    private const int SOCK_STREAM = 1;
    private const int SOCK_SEQPACKET = 5;
    private const int SOCK_CLOEXEC = 0x80000;

    /// <summary>A close-on-exec pair that keeps message boundaries.</summary>
    public static (SafeFileHandle Ours, SafeFileHandle Theirs) SequentialPackets(string subject) => Create(SOCK_SEQPACKET, subject);

    /// <summary>A close-on-exec pair of byte streams.</summary>
    public static (SafeFileHandle Ours, SafeFileHandle Theirs) Stream(string subject) => Create(SOCK_STREAM, subject);

    private static (SafeFileHandle Ours, SafeFileHandle Theirs) Create(int type, string subject)
    {
        var ends = stackalloc int[2];
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Socketpair, AF_UNIX, type | SOCK_CLOEXEC, 0, (long)ends), "socketpair", subject);
        return (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
    }
}
