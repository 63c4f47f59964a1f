using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.Sandboxes;

/// <summary>The mounts of a sandbox: its own copy of ours, detached from propagation, with the /proc of its own PID namespace.</summary>
internal static class SandboxMounts
{
    private const int MS_NOSUID = 2;
    private const int MS_NODEV = 4;
    private const int MS_NOEXEC = 8;
    private const int MS_REC = 0x4000;
    private const int MS_PRIVATE = 0x4_0000;

    public static void Emit(ProgramBuilder builder)
    {
        builder.Syscall(SyscallNumber.Mount, "mount tree made private", builder.Text("none"), builder.Text("/"), 0, MS_REC | MS_PRIVATE, 0);
        var proc = builder.Text("proc");
        builder.Syscall(SyscallNumber.Mount, "/proc", proc, builder.Text("/proc"), proc, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
    }
}
