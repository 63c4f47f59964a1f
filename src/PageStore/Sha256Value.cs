using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Snapshots.PageStore;

/// <summary>A SHA-256 as a value: of a page, of a page map, or of the pages of a pack.</summary>
internal readonly record struct Sha256Value(ulong A, ulong B, ulong C, ulong D)
{
    public const int Bytes = SHA256.HashSizeInBytes;

    public string Hex
    {
        get
        {
            Span<byte> bytes = stackalloc byte[Bytes];
            Write(bytes);
            return Convert.ToHexStringLower(bytes);
        }
    }

    public static Sha256Value Of(ReadOnlySpan<byte> contents)
    {
        Span<byte> hash = stackalloc byte[Bytes];
        SHA256.HashData(contents, hash);
        return Read(hash);
    }

    public static Sha256Value Read(ReadOnlySpan<byte> bytes) => new(
        BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
        BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]),
        BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));

    /// <summary>64 small hexadecimal digits.</summary>
    public static bool TryParse(ReadOnlySpan<char> hex, out Sha256Value value)
    {
        value = default;
        if (hex.Length != 2 * Bytes || hex.ContainsAnyExcept("0123456789abcdef"))
            return false;
        Span<byte> bytes = stackalloc byte[Bytes];
        Convert.FromHexString(hex, bytes, out _, out _);
        value = Read(bytes);
        return true;
    }

    public void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, A);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], B);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[16..], C);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[24..], D);
    }

    // It is a hash already.
    public override int GetHashCode() => (int)A;

    public override string ToString() => Hex;
}
