// ppoll(2); Linux 2.6.16.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Waits for descriptors to become readable.</summary>
public static unsafe class Poll
{
    private const short POLLIN = 1;

    /// <summary>Waits until at least one of two descriptors is readable or hung up.</summary>
    /// <returns>Which of them are; both false when the time-out passed.</returns>
    public static (bool First, bool Second) AnyReadable(SafeFileHandle first, SafeFileHandle second, TimeSpan timeout)
    {
        using var one = new BorrowedDescriptor(first);
        using var two = new BorrowedDescriptor(second);
        var descriptors = stackalloc PollDescriptor[2] { new(one.Number), new(two.Number) };
        Wait(descriptors, 2, timeout);
        return (descriptors[0].Returned != 0, descriptors[1].Returned != 0);
    }

    /// <summary>Waits until <paramref name="descriptor"/> is readable or hung up; false when the time-out passed.</summary>
    public static bool IsReadable(SafeFileHandle descriptor, TimeSpan timeout)
    {
        using var borrowed = new BorrowedDescriptor(descriptor);
        var descriptors = stackalloc PollDescriptor[1] { new(borrowed.Number) };
        Wait(descriptors, 1, timeout);
        return descriptors[0].Returned != 0;
    }

    /// <summary>Waits until <paramref name="descriptor"/> is readable or hung up, however long that takes.</summary>
    public static void UntilReadable(SafeFileHandle descriptor)
    {
        using var borrowed = new BorrowedDescriptor(descriptor);
        var descriptors = stackalloc PollDescriptor[1] { new(borrowed.Number) };
        long result;
        do
        {
            result = RawSyscall.Call(SyscallNumber.Ppoll, (long)descriptors, 1);
        }
        while (RawSyscall.ErrnoOf(result) == Errno.EINTR);
        RawSyscall.ThrowIfFailed(result, "ppoll", "descriptor");
    }

    private static void Wait(PollDescriptor* descriptors, int count, TimeSpan timeout)
    {
        var deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        while (true)
        {
            var left = Math.Max(0, deadline - Environment.TickCount64);
            var time = stackalloc long[2] { left / 1000, left % 1000 * 1_000_000 };
            var result = RawSyscall.Call(SyscallNumber.Ppoll, (long)descriptors, count, (long)time);
            if (RawSyscall.ErrnoOf(result) == Errno.EINTR)
                continue;
            RawSyscall.ThrowIfFailed(result, "ppoll", "descriptors");
            return;
        }
    }

    /// <summary>struct pollfd; the kernel writes <see cref="Returned"/>.</summary>
    private struct PollDescriptor(int number)
    {
        public int Number = number;
        public short Wanted = POLLIN;
        public short Returned = 0;
    }
}
