using System.Runtime.InteropServices;

namespace Snapshots.Linux;

/// <summary>syscall(2): the one raw entry into the kernel. Only files in this room call it; each wraps one kernel interface in types.</summary>
internal static unsafe partial class RawSyscall
{
    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long Invoke(long number, long a0, long a1, long a2, long a3, long a4, long a5);

    /// <summary>Invokes a system call; returns its result, or the negated error number as the kernel itself does.</summary>
    public static long Call(SyscallNumber number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0)
    {
        var result = Invoke((long)number, a0, a1, a2, a3, a4, a5);
        return result == -1 ? -Marshal.GetLastPInvokeError() : result;
    }

    /// <summary>The error in a result of <see cref="Call"/>, <see cref="Errno.None"/> when it succeeded.</summary>
    public static Errno ErrnoOf(long result) => result < 0 ? (Errno)(-result) : Errno.None;

    /// <summary>Returns <paramref name="result"/>, or throws naming the call and its object.</summary>
    public static long ThrowIfFailed(long result, string call, string subject) =>
        result < 0 ? throw new LinuxException(call, (Errno)(-result), subject) : result;
}
