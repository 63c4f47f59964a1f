using System.Buffers.Binary;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.Sandboxes;

/// <summary>Brings <c>lo</c> up in a new network namespace (netdevice(7), SIOCSIFFLAGS).</summary>
internal static class LoopbackLink
{
    private const int AF_INET = 2;
    private const int SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
    private const int SIOCSIFFLAGS = 0x8914;
    private const ushort IFF_UP_RUNNING = 0x1 | 0x40;
    private const int InterfaceRequestBytes = 40;
    private const int FlagsOffset = 16;

    public static void Emit(ProgramBuilder builder)
    {
        Span<byte> request = stackalloc byte[InterfaceRequestBytes];
        request.Clear();
        "lo"u8.CopyTo(request);
        BinaryPrimitives.WriteUInt16LittleEndian(request[FlagsOffset..], IFF_UP_RUNNING);
        var socket = builder.Word();
        builder.Syscall(SyscallNumber.Socket, "lo", AF_INET, SOCK_DGRAM_CLOEXEC, 0).StoreTo(socket);
        builder.Syscall(SyscallNumber.Ioctl, "lo up", Operand.Load64(socket), SIOCSIFFLAGS, builder.Data(request));
        builder.Syscall(SyscallNumber.Close, "lo", Operand.Load64(socket));
    }
}
