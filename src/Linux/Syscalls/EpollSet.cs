// epoll(7): epoll_create1(2), epoll_ctl(2), epoll_wait(2); uapi linux/eventpoll.h; Linux 2.6.27.
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>What an <see cref="EpollSet"/> reports about one descriptor; mirrors EPOLLIN and friends.</summary>
[Flags]
public enum EpollEvents : uint
{
    None = 0,
    Readable = 0x001,
    Writable = 0x004,
    Error = 0x008,
    HangUp = 0x010,

    /// <summary>Tell one waiter, once, until <see cref="EpollSet.Rearm"/>.</summary>
    OneShot = 0x4000_0000,
}

/// <summary>struct epoll_event of x86-64, where it is packed: events at 0, data at 4, 12 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12, Pack = 1)]
public struct EpollEvent
{
    [FieldOffset(0)]
    public EpollEvents Events;

    /// <summary>The key that was given to <see cref="EpollSet.Add"/>.</summary>
    [FieldOffset(4)]
    public ulong Key;
}

/// <summary>
/// A level-triggered set of descriptors. Several threads may wait on it if all is added with <see cref="EpollEvents.OneShot"/>. Adding and removing is allowed from any thread; an event may still be
/// delivered by a wait that was under way when its descriptor was removed.
/// </summary>
public sealed unsafe class EpollSet : IDisposable
{
    private const long EPOLL_CLOEXEC = 0x80000;
    private const int EPOLL_CTL_ADD = 1;
    private const int EPOLL_CTL_DEL = 2;
    private const int EPOLL_CTL_MOD = 3;
    private readonly SafeFileHandle _handle;

    /// <exception cref="LinuxException">EMFILE, ENFILE: no descriptor left.</exception>
    public EpollSet()
    {
        var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.EpollCreate1, EPOLL_CLOEXEC), "epoll_create1", "event set");
        _handle = new SafeFileHandle((nint)fd, ownsHandle: true);
    }

    /// <summary>Watches <paramref name="descriptor"/>; errors and hang-ups are always reported.</summary>
    /// <exception cref="LinuxException">EPERM: the descriptor cannot be polled (a regular file); ENOSPC: fs.epoll.max_user_watches.</exception>
    public void Add(SafeHandle descriptor, EpollEvents events, ulong key)
    {
        var entry = new EpollEvent { Events = events, Key = key };
        RawSyscall.ThrowIfFailed(Control(EPOLL_CTL_ADD, descriptor, &entry), "epoll_ctl(EPOLL_CTL_ADD)", $"event key {key}");
    }

    /// <summary>Watches again after a <see cref="EpollEvents.OneShot"/> was told.</summary>
    public void Rearm(SafeHandle descriptor, EpollEvents events, ulong key)
    {
        var entry = new EpollEvent { Events = events, Key = key };
        RawSyscall.ThrowIfFailed(Control(EPOLL_CTL_MOD, descriptor, &entry), "epoll_ctl(EPOLL_CTL_MOD)", $"event key {key}");
    }

    /// <summary>Stops watching; call it before the descriptor is closed, since copies in other processes keep a closed one in the set.</summary>
    public void Remove(SafeHandle descriptor, string subject)
    {
        EpollEvent unused;
        RawSyscall.ThrowIfFailed(Control(EPOLL_CTL_DEL, descriptor, &unused), "epoll_ctl(EPOLL_CTL_DEL)", subject);
    }

    /// <summary>Blocks until something is ready or <paramref name="timeoutMilliseconds"/> passed (-1: for ever); returns how many events were stored.</summary>
    public int Wait(Span<EpollEvent> events, int timeoutMilliseconds = -1)
    {
        using var borrowed = new BorrowedDescriptor(_handle);
        fixed (EpollEvent* buffer = events)
        {
            var result = RawSyscall.Call(SyscallNumber.EpollWait, borrowed.Number, (long)buffer, events.Length, timeoutMilliseconds);
            return RawSyscall.ErrnoOf(result) == Errno.EINTR ? 0 : (int)RawSyscall.ThrowIfFailed(result, "epoll_wait", "event set");
        }
    }

    public void Dispose() => _handle.Dispose();

    private long Control(int operation, SafeHandle descriptor, EpollEvent* entry)
    {
        using var borrowed = new BorrowedDescriptor(_handle);
        var added = false;
        try
        {
            descriptor.DangerousAddRef(ref added);
            return RawSyscall.Call(SyscallNumber.EpollCtl, borrowed.Number, operation, descriptor.DangerousGetHandle(), (long)entry);
        }
        finally
        {
            if (added)
                descriptor.DangerousRelease();
        }
    }
}
