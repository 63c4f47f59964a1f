using System.Buffers.Binary;
using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux.Proc;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// What a start order says beside the descriptors that it brings:
/// <code>
///   0x00 u64 order id, always 0: there is one order only
///   0x08 u64 length of the text; 0 leaves the clone the host's clocks
///   0x10 text for /proc/self/timens_offsets
/// </code>
/// </summary>
internal static class StartOrder
{
    /// <summary>Two lines with the longest numbers.</summary>
    private const int TextBytes = 112;
    private const int LengthBytes = sizeof(ulong);

    /// <summary>Bytes behind the order id.</summary>
    public const int PayloadBytes = LengthBytes + TextBytes;

    public const int MaxBytes = sizeof(ulong) + PayloadBytes;

    public static Operand TextLength(OrderBuffer order) => Operand.Load64(order.Payload);

    public static VirtualAddress Text(OrderBuffer order) => order.Payload + LengthBytes;

    /// <summary>Writes an order, with offsets by which the clone's clocks go on now where <paramref name="frozen"/> says that they stood.</summary>
    /// <param name="frozen">null leaves the clone the host's clocks.</param>
    /// <param name="clockOffsetNanoseconds">How far the clone's CLOCK_MONOTONIC will be ahead of ours.</param>
    /// <returns>Length of the order in bytes.</returns>
    public static int Encode(Clocks? frozen, Span<byte> order, out long clockOffsetNanoseconds)
    {
        order[..MaxBytes].Clear();
        clockOffsetNanoseconds = 0;
        if (frozen is null)
            return sizeof(ulong) + LengthBytes;
        var (monotonic, boottime) = TimeNamespaceOffsets.HostClocks();
        var offsets = new TimeNamespaceOffsets(frozen.MonotonicNs - monotonic, frozen.BoottimeNs - boottime);
        clockOffsetNanoseconds = offsets.MonotonicNanoseconds - TimeNamespaceOffsets.Own.MonotonicNanoseconds;
        var length = Encoding.ASCII.GetBytes(offsets.ToString(), order[(sizeof(ulong) + LengthBytes)..]);
        BinaryPrimitives.WriteInt64LittleEndian(order[sizeof(ulong)..], length);
        return sizeof(ulong) + LengthBytes + length;
    }
}
