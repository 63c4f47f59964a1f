// setns(2), network_namespaces(7); Linux 3.0.
using System.Runtime.ExceptionServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Runs code inside another network namespace without moving any thread of ours there for good.</summary>
public static unsafe class NetworkNamespace
{
    private const long CLONE_NEWNET = 0x4000_0000;

    /// <summary>The network namespace of a process.</summary>
    /// <exception cref="LinuxException">ENOENT: the process is gone; EACCES.</exception>
    public static SafeFileHandle Open(int pid)
    {
        const long O_RDONLY_CLOEXEC = 0x80000;
        var path = $"/proc/{pid}/ns/net";
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Open, (long)text, O_RDONLY_CLOEXEC), "open", path);
            return new SafeFileHandle((nint)fd, ownsHandle: true);
        }
    }

    /// <summary>
    /// Runs <paramref name="action"/> on a thread of its own that entered the namespace and ends afterwards; sockets made there keep belonging to it.
    /// Exceptions of the action come out here.
    /// </summary>
    /// <exception cref="LinuxException">EPERM: needs CAP_SYS_ADMIN in the owning user namespace.</exception>
    public static T RunIn<T>(SafeFileHandle networkNamespace, Func<T> action)
    {
        var result = default(T);
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Enter(networkNamespace);
                result = action();
            }
            catch (Exception exception)
            {
                failure = ExceptionDispatchInfo.Capture(exception);
            }
        })
        { IsBackground = true, Name = "network namespace" };
        thread.Start();
        thread.Join();
        failure?.Throw();
        return result!;
    }

    private static void Enter(SafeFileHandle networkNamespace)
    {
        using var borrowed = new BorrowedDescriptor(networkNamespace);
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Setns, borrowed.Number, CLONE_NEWNET), "setns", "network namespace");
    }
}
