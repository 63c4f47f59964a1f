using System.Buffers.Binary;
using Snapshots.AddressSpace;
using Snapshots.Programs;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Layers;

/// <summary>
/// The order for a fork of the template that is to become the template of a layer. The same two descriptors as a <see cref="BirthOrder"/>, the first of them
/// a pidfd of ours: its PID namespace is the template's own again. And
/// <code>
///   0x00 u64 order id, <see cref="Id"/>
///   0x08 u64 start of the range to map for the layer's programs   0x10 u64 its length in bytes
///   0x18 u64 entry to continue at, once they are written          0x20 u64 page of the stub that runs them
///   0x28 u64 control block
/// </code>
/// </summary>
internal readonly record struct LayerOrder(AddressRange Region, VirtualAddress Entry, VirtualAddress Stub, VirtualAddress ControlBlock)
{
    /// <summary>Beside <see cref="BirthOrder.BareFork"/>, above all that are counted.</summary>
    public const ulong Id = ulong.MaxValue - 1;

    /// <summary>Bytes behind the order id.</summary>
    public const int PayloadBytes = 5 * sizeof(ulong);

    public const int Bytes = sizeof(ulong) + PayloadBytes;

    public void Encode(Span<byte> order)
    {
        ReadOnlySpan<ulong> words = [Id, Region.Start.Value, Region.LengthBytes, Entry.Value, Stub.Value, ControlBlock.Value];
        for (var i = 0; i < words.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(order[(i * sizeof(ulong))..], words[i]);
    }

    public static Operand RegionStart(OrderBuffer order) => Operand.Load64(order.Payload);

    public static Operand RegionLength(OrderBuffer order) => Operand.Load64(order.Payload + 8);

    public static Operand EntryOf(OrderBuffer order) => Operand.Load64(order.Payload + 16);

    public static Operand StubOf(OrderBuffer order) => Operand.Load64(order.Payload + 24);

    public static Operand ControlBlockOf(OrderBuffer order) => Operand.Load64(order.Payload + 32);
}
