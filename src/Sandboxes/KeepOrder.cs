using System.Buffers.Binary;

namespace Snapshots.Sandboxes;

/// <summary>
/// What the init of a sandbox is sent: at most one descriptor to keep, and
/// <code>
///   0x00 u64 unused
///   0x08 u64 number of a descriptor to close, or <see cref="None"/>
/// </code>
/// </summary>
internal static class KeepOrder
{
    /// <summary>A number that no descriptor has.</summary>
    public const ulong None = int.MaxValue;

    public const int PayloadBytes = sizeof(ulong);

    public const int Bytes = sizeof(ulong) + PayloadBytes;

    public static void Encode(ulong close, Span<byte> order)
    {
        order.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(order[sizeof(ulong)..], close);
    }
}
