// setsid(2), dup3(2).
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Cuts this process off from the terminal and the pipes it was started with.</summary>
public static class Session
{
    /// <summary>Becomes the leader of a new session without a terminal.</summary>
    /// <exception cref="LinuxException">EPERM: this process leads a process group already.</exception>
    public static void Detach() => RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Setsid), "setsid", "this process");

    /// <summary>Makes descriptor <paramref name="number"/> of this process refer to what <paramref name="source"/> does, kept across exec.</summary>
    public static void Redirect(SafeFileHandle source, int number)
    {
        using var borrowed = new BorrowedDescriptor(source);
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Dup3, borrowed.Number, number, 0), "dup3", $"fd {number}");
    }
}
