using System.IO.Hashing;
using K4os.Compression.LZ4;

namespace Snapshots.PageStore.Packs;

/// <summary>Pages to the bytes of a frame and back. LZ4 block format, or as they are when that is not shorter. Thread-safe.</summary>
internal static class FrameCodec
{
    /// <returns>Bytes written to <paramref name="stored"/>, which has room for as many as <paramref name="raw"/> has.</returns>
    public static int Compress(ReadOnlySpan<byte> raw, Span<byte> stored)
    {
        // One byte less than raw: what is not shorter does not fit, and LZ4 says so by a negative number.
        var length = LZ4Codec.Encode(raw, stored[..(raw.Length - 1)]);
        if (length > 0)
            return length;
        raw.CopyTo(stored);
        return raw.Length;
    }

    /// <returns>False when the bytes are not a frame of that many bytes.</returns>
    public static bool TryDecompress(ReadOnlySpan<byte> stored, Span<byte> raw)
    {
        if (stored.Length == raw.Length)
        {
            stored.CopyTo(raw);
            return true;
        }
        return stored.Length < raw.Length && LZ4Codec.Decode(stored, raw) == raw.Length;
    }

    /// <summary>Finds damage, not malice: it is computed at each read, and costs a few per cent of it.</summary>
    public static UInt128 Checksum(ReadOnlySpan<byte> stored) => XxHash128.HashToUInt128(stored);
}
