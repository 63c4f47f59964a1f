using System.Buffers.Binary;
using System.Text;
using Snapshots.Images;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Transfer;

// An exported snapshot: one image as it would be in a store of its own, in one file. Integers are little-endian. Every part is proved by the one before it:
// the header names the manifest, the manifest the page map, the page map the packs, each pack its pages. There are no paths in it.
//
//        0 ┌──────────────────────────────────────────────────────────┐
//          │  0  magic "SNAPEXPT"                                     │
//          │  8  u32  version, 1                                      │ header, 256 bytes
//          │ 12  u32  bytes of the manifest                           │
//          │ 16  u64  bytes of the page map                           │
//          │ 24  u32  packs                                           │
//          │ 28  u32  bytes of the name                               │
//          │ 32  SHA-256 of the manifest                              │
//          │ 64  the name, then zeros                                 │
//          │240  XxHash128 of bytes 0 to 239                          │
//      256 ├──────────────────────────────────────────────────────────┤
//          │ manifest: docs/image-format.md                           │
//          ├──────────────────────────────────────────────────────────┤
//          │ page map: docs/page-store.md                             │
//          ├──────────────────────────────────────────────────────────┤
//          │ packs, in the order of the page map; each tells its size │
//          └──────────────────────────────────────────────────────────┘  end of the file

/// <summary>The header of an exported snapshot, as drawn above.</summary>
internal sealed record ExportHeader(string Name, int ManifestBytes, long MapBytes, int PackCount, Sha256Value Manifest)
{
    public const int Bytes = 256;
    private const uint Version = 1;
    private const int NameOffset = 64;
    private const int CheckedBytes = 240;

    private static ReadOnlySpan<byte> Magic => "SNAPEXPT"u8;

    public byte[] Encode()
    {
        var bytes = new byte[Bytes];
        Magic.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), Version);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), ManifestBytes);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(16), MapBytes);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(24), PackCount);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(28), Encoding.ASCII.GetBytes(Name, bytes.AsSpan(NameOffset)));
        Manifest.Write(bytes.AsSpan(32));
        BinaryPrimitives.WriteUInt128LittleEndian(bytes.AsSpan(CheckedBytes), FrameCodec.Checksum(bytes.AsSpan(0, CheckedBytes)));
        return bytes;
    }

    /// <param name="source">For messages.</param>
    /// <exception cref="ImageException">Malformed, DigestMismatch, UnsupportedVersion, LimitExceeded.</exception>
    public static ExportHeader Decode(ReadOnlySpan<byte> bytes, string source)
    {
        if (!bytes.StartsWith(Magic))
            throw new ImageException(ImageFailure.Malformed, $"{source}: is no exported snapshot; name a file that `snapshots export` wrote");
        if (BinaryPrimitives.ReadUInt128LittleEndian(bytes[CheckedBytes..]) != FrameCodec.Checksum(bytes[..CheckedBytes]))
            throw new ImageException(ImageFailure.DigestMismatch, $"{source}: the header is damaged (its checksum differs); export or copy it again");
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) is not Version and var version)
            throw new ImageException(ImageFailure.UnsupportedVersion, $"{source}: has export version {version}, this program reads {Version}; use a newer version of it");
        var manifest = BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]);
        var map = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        var packs = BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]);
        var name = BinaryPrimitives.ReadUInt32LittleEndian(bytes[28..]);
        if (manifest > ImageLimits.MaxManifestBytes || map > ImageLimits.MaxPageMapBytes || packs > PageStoreLimits.MaxPacksOfImage || name > ImageLimits.MaxNameLength)
            throw new ImageException(ImageFailure.LimitExceeded, $"{source}: claims {manifest} bytes of manifest, {map} of page map, {packs} packs and {name} of name, which is beyond the limits; export it again");
        return new ExportHeader(Encoding.ASCII.GetString(bytes.Slice(NameOffset, (int)name)), (int)manifest, (long)map, (int)packs, Sha256Value.Read(bytes[32..]));
    }
}
