using System.Security.Cryptography;

namespace Snapshots.Images;

/// <summary>The SHA-256 of a manifest, which names a snapshot: the same digest is the same image, whatever it is called.</summary>
public readonly record struct SnapshotDigest
{
    private const string Prefix = "sha256:";
    private readonly string? _hex;

    private SnapshotDigest(string hex) => _hex = hex;

    /// <summary>64 small hexadecimal digits.</summary>
    public string Hex => _hex ?? throw new InvalidOperationException("a default SnapshotDigest names nothing");

    public static SnapshotDigest Of(ReadOnlySpan<byte> contents) => new(Convert.ToHexStringLower(SHA256.HashData(contents)));

    public static SnapshotDigest FromBytes(ReadOnlySpan<byte> hash) =>
        hash.Length == SHA256.HashSizeInBytes ? new(Convert.ToHexStringLower(hash)) : throw new ArgumentException("a SHA-256 has 32 bytes", nameof(hash));

    /// <summary><c>sha256:</c> and 64 small hexadecimal digits.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out SnapshotDigest digest)
    {
        digest = default;
        if (!text.StartsWith(Prefix, StringComparison.Ordinal))
            return false;
        var hex = text[Prefix.Length..];
        if (hex.Length != 2 * SHA256.HashSizeInBytes || hex.ContainsAnyExcept("0123456789abcdef"))
            return false;
        digest = new SnapshotDigest(hex.ToString());
        return true;
    }

    public override string ToString() => Prefix + Hex;
}
