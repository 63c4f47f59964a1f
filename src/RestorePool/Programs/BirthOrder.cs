using System.Buffers.Binary;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// The order that a template takes: two descriptors, which arrive at fixed numbers, and
/// <code>
///   0x00 u64 order id: counts up from one, or <see cref="BareFork"/>
///   0x08 u64 1 when the clone is to be parked, 0 when somebody waits for it
/// </code>
/// </summary>
internal static class BirthOrder
{
    /// <summary>The id of an order for a fork that does nothing.</summary>
    public const ulong BareFork = ulong.MaxValue;

    /// <summary>Where the pidfd of the sandbox's init arrives.</summary>
    public const int Sandbox = 0;

    /// <summary>Where the clone's end of its own control socket arrives.</summary>
    public const int ControlSocket = 1;

    public const int DescriptorCount = 2;

    /// <summary>Bytes behind the order id.</summary>
    public const int PayloadBytes = sizeof(ulong);

    public const int Bytes = sizeof(ulong) + PayloadBytes;

    public static Operand ToBeParked(OrderBuffer order) => Operand.Load64(order.Payload);

    public static void Encode(ulong id, bool toBeParked, Span<byte> order)
    {
        OrderBuffer.Encode(id, order);
        BinaryPrimitives.WriteUInt64LittleEndian(order[sizeof(ulong)..], toBeParked ? 1UL : 0);
    }
}
