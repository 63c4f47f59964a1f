// posix_spawn(3), wait4(2).
using System.Runtime.InteropServices;
using System.Text;

namespace Snapshots.Linux.Syscalls;

/// <summary>The cheapest way to run a program to its end: what every other start is compared with.</summary>
public static unsafe partial class PlainSpawn
{
    [LibraryImport("libc")]
    private static partial int posix_spawn(int* pid, byte* path, void* fileActions, void* attributes, byte** argv, byte** envp);

    /// <summary>Starts <paramref name="path"/> without arguments, environment or attributes, waits for its end, and returns its wait status.</summary>
    /// <returns>As wait(2) gives it: 0 when it exited with code 0.</returns>
    /// <exception cref="LinuxException">It cannot be started.</exception>
    public static int RunAndWait(string path)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var argv = stackalloc byte*[2] { name, null };
            var envp = stackalloc byte*[1] { null };
            int pid;
            var error = posix_spawn(&pid, name, null, null, argv, envp);
            if (error != 0)
                throw new LinuxException("posix_spawn", (Errno)error, path);
            int status;
            long result;
            do
            {
                result = RawSyscall.Call(SyscallNumber.Wait4, pid, (long)&status);
            }
            while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
            RawSyscall.ThrowIfFailed(result, "wait4", path);
            return status;
        }
    }
}
