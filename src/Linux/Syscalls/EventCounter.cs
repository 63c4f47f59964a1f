// eventfd(2); uapi linux/eventfd.h; Linux 2.6.27.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>A counter that wakes whoever polls it: how other threads interrupt an <see cref="EpollSet.Wait"/>.</summary>
public sealed unsafe class EventCounter : IDisposable
{
    private const long EFD_CLOEXEC = 0x80000;
    private const long EFD_NONBLOCK = 0x800;

    /// <exception cref="LinuxException">EMFILE, ENFILE: no descriptor left.</exception>
    public EventCounter()
    {
        var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd2", "wake-up counter");
        Handle = new SafeFileHandle((nint)fd, ownsHandle: true);
    }

    /// <summary>Readable while the counter is not zero.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Makes <see cref="Handle"/> readable.</summary>
    public void Signal()
    {
        using var borrowed = new BorrowedDescriptor(Handle);
        var one = 1L;
        // EAGAIN says that the counter is at its maximum: it is readable already.
        _ = RawSyscall.Call(SyscallNumber.Write, borrowed.Number, (long)&one, sizeof(long));
    }

    /// <summary>Makes <see cref="Handle"/> unreadable until the next <see cref="Signal"/>.</summary>
    public void Clear()
    {
        using var borrowed = new BorrowedDescriptor(Handle);
        long count;
        // EAGAIN says that it is zero already.
        _ = RawSyscall.Call(SyscallNumber.Read, borrowed.Number, (long)&count, sizeof(long));
    }

    public void Dispose() => Handle.Dispose();
}
