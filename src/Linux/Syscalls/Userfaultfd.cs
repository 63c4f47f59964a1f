// userfaultfd(2), ioctl_userfaultfd(2); uapi linux/userfaultfd.h; missing mode since Linux 4.3, events since 4.11.
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Syscalls;

/// <summary>What a <see cref="Userfaultfd"/> tells; UFFD_EVENT_ of the uapi header.</summary>
public enum UserfaultEvent : byte
{
    /// <summary>A thread waits for the page at the range's start.</summary>
    PageFault = 0x12,

    /// <summary>The address space was forked; the child's is <see cref="UserfaultMessage.Child"/>.</summary>
    Fork = 0x13,

    /// <summary>The range was moved to <see cref="UserfaultMessage.To"/> (mremap(2)).</summary>
    Remap = 0x14,

    /// <summary>The range's contents are being dropped (MADV_DONTNEED, MADV_FREE): what is missing there reads as zeros from now on.</summary>
    Remove = 0x15,

    /// <summary>The range is no longer mapped.</summary>
    Unmap = 0x16,
}

/// <summary>One message of a <see cref="Userfaultfd"/>; struct uffd_msg, 32 bytes.</summary>
/// <param name="Range">Where; empty, at the address, for a page fault; unused for a fork.</param>
/// <param name="To">Only with <see cref="UserfaultEvent.Remap"/>.</param>
/// <param name="Child">Only with <see cref="UserfaultEvent.Fork"/>; the reader's to own.</param>
public readonly record struct UserfaultMessage(UserfaultEvent Event, AddressRange Range, VirtualAddress To, Userfaultfd? Child);

/// <summary>
/// The door to the missing pages of one address space: its registered ranges ask here instead of getting zeros. When the last descriptor of it is
/// closed, anywhere, the ranges are ordinary memory again and what is missing reads as zeros.
/// </summary>
/// <remarks>Thread-safe. Works from any process; the ioctls act on the address space in which it was made.</remarks>
public sealed unsafe class Userfaultfd : IDisposable
{
    /// <summary>Flags for userfaultfd(2): close-on-exec, and not blocking, without which it cannot be polled.</summary>
    public const int OpenFlags = 0x80000 | 0x800;

    private const int MessageBytes = 32;
    private const uint UFFDIO_API = 0xC018AA3F;
    private const uint UFFDIO_REGISTER = 0xC020AA00;
    private const uint UFFDIO_WAKE = 0x8010AA02;
    private const uint UFFDIO_COPY = 0xC028AA03;
    private const uint UFFDIO_ZEROPAGE = 0xC020AA04;
    private const ulong UFFD_API = 0xAA;
    private const ulong UFFD_FEATURE_EVENT_FORK = 1 << 1;
    private const ulong UFFD_FEATURE_EVENT_REMAP = 1 << 2;
    private const ulong UFFD_FEATURE_EVENT_REMOVE = 1 << 3;
    private const ulong UFFD_FEATURE_EVENT_UNMAP = 1 << 6;
    private const ulong UFFDIO_REGISTER_MODE_MISSING = 1;

    /// <param name="handle">Of userfaultfd(2) with <see cref="OpenFlags"/>; becomes this object's.</param>
    public Userfaultfd(SafeFileHandle handle) => Handle = handle;

    /// <summary>Readable while a message waits.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Agrees on the interface, with every event told; before anything else, once.</summary>
    /// <exception cref="LinuxException">EPERM: the events of forks need CAP_SYS_PTRACE; EINVAL: the kernel has not all of the events.</exception>
    public void Enable()
    {
        var api = stackalloc ulong[3]
        {
            UFFD_API, UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP, 0,
        };
        RawSyscall.ThrowIfFailed(Control(UFFDIO_API, api), "ioctl(UFFDIO_API)", "userfaultfd");
    }

    /// <summary>From now on the pages that <paramref name="range"/> lacks are asked for.</summary>
    /// <exception cref="LinuxException">EINVAL: not mapped, or not private anonymous memory; EBUSY: another userfaultfd has it.</exception>
    public void Register(AddressRange range)
    {
        var arguments = stackalloc ulong[4] { range.Start.Value, range.LengthBytes, UFFDIO_REGISTER_MODE_MISSING, 0 };
        RawSyscall.ThrowIfFailed(Control(UFFDIO_REGISTER, arguments), "ioctl(UFFDIO_REGISTER)", range.ToString());
    }

    /// <summary>The next message; false when none waits. Reading an event lets its cause go on.</summary>
    public bool TryRead(out UserfaultMessage message)
    {
        var bytes = stackalloc byte[MessageBytes];
        long result;
        using (var borrowed = new BorrowedDescriptor(Handle))
            result = RawSyscall.Call(SyscallNumber.Read, borrowed.Number, (long)bytes, MessageBytes);
        message = default;
        if (RawSyscall.ErrnoOf(result) is Errno.EAGAIN or Errno.EINTR)
            return false;
        RawSyscall.ThrowIfFailed(result, "read", "userfaultfd");
        message = Decode(bytes);
        return true;
    }

    /// <summary>
    /// Gives missing pages their contents and wakes whoever waits for them. Stops at the first page that is there already.
    /// </summary>
    /// <param name="pages">Whole pages.</param>
    /// <param name="copiedBytes">How far it came.</param>
    /// <returns>
    /// EEXIST: the next page is there; EAGAIN: the address space is changing, read its events first; ENOENT: not, or no longer, registered in one piece; ESRCH: the address space is
    /// gone; ENOMEM, EFAULT.
    /// </returns>
    public Errno Copy(VirtualAddress destination, ReadOnlySpan<byte> pages, out int copiedBytes)
    {
        fixed (byte* source = pages)
        {
            var arguments = stackalloc ulong[5] { destination.Value, (ulong)source, (ulong)pages.Length, 0, 0 };
            return Progress(Control(UFFDIO_COPY, arguments), (long)arguments[4], pages.Length, out copiedBytes);
        }
    }

    /// <summary>As <see cref="Copy"/>, with zeros.</summary>
    public Errno Zero(AddressRange range, out int zeroedBytes)
    {
        var arguments = stackalloc ulong[4] { range.Start.Value, range.LengthBytes, 0, 0 };
        return Progress(Control(UFFDIO_ZEROPAGE, arguments), (long)arguments[3], (int)range.LengthBytes, out zeroedBytes);
    }

    /// <summary>Lets those who wait for a page of the range try again.</summary>
    public Errno Wake(AddressRange range)
    {
        var arguments = stackalloc ulong[2] { range.Start.Value, range.LengthBytes };
        return RawSyscall.ErrnoOf(Control(UFFDIO_WAKE, arguments));
    }

    public void Dispose() => Handle.Dispose();

    private static UserfaultMessage Decode(byte* bytes)
    {
        // struct uffd_msg: event at 0; three words of arguments from 8 on.
        var kind = (UserfaultEvent)bytes[0];
        var first = *(ulong*)(bytes + 8);
        var second = *(ulong*)(bytes + 16);
        var third = *(ulong*)(bytes + 24);
        return kind switch
        {
            UserfaultEvent.PageFault => new UserfaultMessage(kind, AddressRange.FromLength(new VirtualAddress(second), 0), default, null),
            UserfaultEvent.Fork => new UserfaultMessage(kind, default, default, new Userfaultfd(new SafeFileHandle((nint)(uint)first, ownsHandle: true))),
            UserfaultEvent.Remap => new UserfaultMessage(kind, AddressRange.FromLength(new VirtualAddress(first), third), new VirtualAddress(second), null),
            UserfaultEvent.Remove or UserfaultEvent.Unmap => new UserfaultMessage(kind, new AddressRange(new VirtualAddress(first), new VirtualAddress(second)), default, null),
            _ => throw new InvalidDataException($"userfaultfd told of event {(byte)kind}, which was not asked for"),
        };
    }

    /// <summary>The kernel says EAGAIN both when it came part of the way and when it could not begin; what it stored tells.</summary>
    private static Errno Progress(long result, long stored, int wanted, out int done)
    {
        done = stored > 0 ? (int)stored : 0;
        var errno = RawSyscall.ErrnoOf(result);
        return errno == Errno.EAGAIN && done > 0 && done < wanted ? Errno.EEXIST : errno;
    }

    private long Control(uint request, ulong* arguments)
    {
        using var borrowed = new BorrowedDescriptor(Handle);
        return RawSyscall.Call(SyscallNumber.Ioctl, borrowed.Number, request, (long)arguments);
    }
}
