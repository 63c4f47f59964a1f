// posix_spawn(3); glibc >= 2.26 for POSIX_SPAWN_SETSID.
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Starts child processes without fork: safe in a process with many threads, and its cost does not depend on our size.</summary>
public static unsafe partial class PosixSpawn
{
    // glibc: sizeof(posix_spawnattr_t) is 336, sizeof(posix_spawn_file_actions_t) is 80, sizeof(sigset_t) is 128.
    private const int AttributesBytes = 336;
    private const int FileActionsBytes = 80;
    private const int SignalSetBytes = 128;
    private const short POSIX_SPAWN_SETSIGDEF = 0x04;
    private const short POSIX_SPAWN_SETSIGMASK = 0x08;
    private const short POSIX_SPAWN_SETSID = 0x80;

    [LibraryImport("libc")]
    private static partial int posix_spawn(int* pid, byte* path, void* fileActions, void* attributes, byte** argv, byte** envp);

    [LibraryImport("libc")]
    private static partial int posix_spawnattr_init(void* attributes);

    [LibraryImport("libc")]
    private static partial int posix_spawnattr_destroy(void* attributes);

    [LibraryImport("libc")]
    private static partial int posix_spawnattr_setflags(void* attributes, short flags);

    [LibraryImport("libc")]
    private static partial int posix_spawnattr_setsigdefault(void* attributes, void* signals);

    [LibraryImport("libc")]
    private static partial int posix_spawnattr_setsigmask(void* attributes, void* signals);

    [LibraryImport("libc")]
    private static partial int posix_spawn_file_actions_init(void* actions);

    [LibraryImport("libc")]
    private static partial int posix_spawn_file_actions_destroy(void* actions);

    [LibraryImport("libc")]
    private static partial int posix_spawn_file_actions_adddup2(void* actions, int from, int to);

    /// <summary>
    /// Starts <paramref name="path"/> in a session of its own with every signal at its default and none blocked, an empty environment, and
    /// <paramref name="descriptor"/> as its descriptor <paramref name="number"/>.
    /// </summary>
    /// <param name="path">Executable; not searched for.</param>
    /// <returns>The child's pid; the caller reaps it.</returns>
    /// <exception cref="LinuxException">The executable is missing or cannot be run, or no process can be made.</exception>
    public static int Start(string path, SafeFileHandle? descriptor = null, int number = 0)
    {
        var attributes = stackalloc byte[AttributesBytes];
        var actions = stackalloc byte[FileActionsBytes];
        var signals = stackalloc byte[SignalSetBytes];
        Check(posix_spawnattr_init(attributes), "posix_spawnattr_init", path);
        Check(posix_spawn_file_actions_init(actions), "posix_spawn_file_actions_init", path);
        var added = false;
        try
        {
            Check(posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID), "posix_spawnattr_setflags", path);
            new Span<byte>(signals, SignalSetBytes).Clear();
            Check(posix_spawnattr_setsigmask(attributes, signals), "posix_spawnattr_setsigmask", path);
            new Span<byte>(signals, SignalSetBytes).Fill(0xff);
            Check(posix_spawnattr_setsigdefault(attributes, signals), "posix_spawnattr_setsigdefault", path);
            if (descriptor is not null)
            {
                descriptor.DangerousAddRef(ref added);
                Check(posix_spawn_file_actions_adddup2(actions, (int)descriptor.DangerousGetHandle(), number), "posix_spawn_file_actions_adddup2", path);
            }
            fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            {
                var argv = stackalloc byte*[2] { name, null };
                var envp = stackalloc byte*[1] { null };
                int pid;
                Check(posix_spawn(&pid, name, actions, attributes, argv, envp), "posix_spawn", path);
                return pid;
            }
        }
        finally
        {
            if (added)
                descriptor!.DangerousRelease();
            _ = posix_spawn_file_actions_destroy(actions);
            _ = posix_spawnattr_destroy(attributes);
        }
    }

    private static void Check(int errno, string call, string subject)
    {
        if (errno != 0)
            throw new LinuxException(call, (Errno)errno, subject);
    }
}
