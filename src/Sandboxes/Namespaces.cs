namespace Snapshots.Sandboxes;

/// <summary>Namespaces as clone(2) and setns(2) name them (uapi linux/sched.h).</summary>
[Flags]
public enum Namespaces : ulong
{
    None = 0,

    /// <summary>Clocks; not part of a sandbox, because each clone's are its own.</summary>
    Time = 0x0000_0080,
    Mount = 0x0002_0000,
    Uts = 0x0400_0000,
    Ipc = 0x0800_0000,
    Pid = 0x2000_0000,
    Network = 0x4000_0000,

    /// <summary>What a process enters for itself; the PID namespace is entered by being born in it.</summary>
    Enterable = Mount | Uts | Ipc | Network,

    All = Enterable | Pid,
}
