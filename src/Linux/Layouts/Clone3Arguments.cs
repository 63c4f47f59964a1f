// struct clone_args of clone3(2); uapi linux/sched.h; Linux 5.3, set_tid 5.5, cgroup 5.7.
using System.Runtime.InteropServices;

namespace Snapshots.Linux;

/// <summary>struct clone_args.</summary>
[StructLayout(LayoutKind.Explicit, Size = 88)]
internal struct Clone3Arguments
{
    [FieldOffset(0)] public ulong Flags;
    [FieldOffset(8)] public ulong Pidfd;
    [FieldOffset(16)] public ulong ChildTid;
    [FieldOffset(24)] public ulong ParentTid;
    [FieldOffset(32)] public ulong ExitSignal;
    [FieldOffset(40)] public ulong Stack;
    [FieldOffset(48)] public ulong StackSize;
    [FieldOffset(56)] public ulong Tls;
    [FieldOffset(64)] public ulong SetTid;
    [FieldOffset(72)] public ulong SetTidSize;
    [FieldOffset(80)] public ulong Cgroup;
}
