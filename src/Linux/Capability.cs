// capabilities(7); uapi linux/capability.h.
using Snapshots.Linux.Proc;

namespace Snapshots.Linux;

/// <summary>Privileges of ours that the engine uses; the value is the bit in a capability set.</summary>
public enum Capability
{
    NetworkAdministration = 12,
    SystemPtrace = 19,
    SystemAdministration = 21,
    SystemNice = 23,
    SystemResource = 24,
    SystemTime = 25,
    CheckpointRestore = 40,
}

/// <summary>The capabilities of this process.</summary>
public static class Capabilities
{
    /// <summary>Whether the effective set of this process holds <paramref name="capability"/>.</summary>
    public static bool Has(Capability capability) => (ProcStatus.Read(Environment.ProcessId).CapEffective >> (int)capability & 1) != 0;

    /// <summary>The kernel's name, e.g. CAP_SYS_ADMIN.</summary>
    public static string NameOf(Capability capability) => capability switch
    {
        Capability.NetworkAdministration => "CAP_NET_ADMIN",
        Capability.SystemPtrace => "CAP_SYS_PTRACE",
        Capability.SystemAdministration => "CAP_SYS_ADMIN",
        Capability.SystemNice => "CAP_SYS_NICE",
        Capability.SystemResource => "CAP_SYS_RESOURCE",
        Capability.SystemTime => "CAP_SYS_TIME",
        Capability.CheckpointRestore => "CAP_CHECKPOINT_RESTORE",
        _ => $"capability {(int)capability}",
    };
}
