namespace Snapshots.RestorePool.Programs;

/// <summary>Flags of open(2), uapi <c>asm-generic/fcntl.h</c>.</summary>
internal static class OpenFlags
{
    public const uint AccessMode = 3;
    public const uint ReadWrite = 2;
    public const uint Create = 0x40;
    public const uint Exclusive = 0x80;
    public const uint Truncate = 0x200;
    public const uint Append = 0x400;
    public const uint NonBlocking = 0x800;
    public const uint Direct = 0x4000;
    public const uint NoAccessTime = 0x40000;
    public const uint Path = 0x200000;

    /// <summary>What fcntl(F_SETFL) can change; O_ASYNC is refused when a process is frozen.</summary>
    public const uint Settable = Append | NonBlocking | Direct | NoAccessTime;

    /// <summary>Flags that act once, when a file is opened first; opening it again must not repeat them.</summary>
    public const uint OnlyOnce = Create | Exclusive | Truncate;
}
