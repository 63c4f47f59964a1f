using System.Buffers.Binary;
using System.Security.Cryptography;
using Snapshots.Images;

namespace Snapshots.PageStore.Packs;

// A pack: frames of pages, each page of a dedup domain once, and the tables that find and prove them. Integers are little-endian.
//
//        0 ┌───────────────────────────────────────────────────────────────┐
//          │  0  magic "SNAPPACK"                                          │
//          │  8  u32  version, 1                                           │ header, 128 bytes,
//          │ 12  u32  pages in a frame (the last may hold fewer)           │ readable alone:
//          │ 16  u32  pages                                                │ the file must be
//          │ 20  u32  frames = pages / pages in a frame, rounded up        │ 128 + data + tables
//          │ 24  u64  bytes of frame data                                  │ long
//          │ 32  SHA-256 of (u32 pages in a frame, page table): the pack's │
//          │     identity and name                                         │
//          │ 64  XxHash128 of the frame table                              │
//          │ 80  zeros                                                     │
//          │112  XxHash128 of bytes 0 to 111                               │
//      128 ├───────────────────────────────────────────────────────────────┤
//          │ frame 0 │ frame 1 │ …      LZ4 block, or raw when not shorter │ frame data
//          ├───────────────────────────────────────────────────────────────┤
//          │ for each page: SHA-256 of its 4096 bytes                      │ page table
//          ├───────────────────────────────────────────────────────────────┤
//          │ for each frame: u32 stored bytes (0: dropped), u32 zero,      │ frame table
//          │                 XxHash128 of the stored bytes                 │
//          └───────────────────────────────────────────────────────────────┘
//
// The identity does not depend on how pages are compressed nor on which frames are still there: garbage collection writes a pack again without the
// frames that nobody needs, under the same identity and the next generation, and page maps stay as they are.

/// <summary>One row of the frame table, and where the frame begins. <c>StoredBytes</c> 0: dropped.</summary>
internal readonly record struct FrameEntry(long Offset, int StoredBytes, UInt128 Checksum)
{
    public bool IsDropped => StoredBytes == 0;
}

/// <summary>The header of a pack, as drawn above.</summary>
internal sealed record PackHeader(int PagesPerFrame, int PageCount, long DataBytes, Sha256Value Id, UInt128 FrameTableChecksum)
{
    public const int Bytes = 128;
    public const int FrameEntryBytes = 24;
    private const uint Version = 1;
    private const int CheckedBytes = 112;

    private static ReadOnlySpan<byte> Magic => "SNAPPACK"u8;

    public int FrameCount => FramesFor(PageCount, PagesPerFrame);

    public int PageTableBytes => PageCount * Sha256Value.Bytes;

    public int FrameTableBytes => FrameCount * FrameEntryBytes;

    public long PageTableOffset => Bytes + DataBytes;

    public long FrameTableOffset => PageTableOffset + PageTableBytes;

    public long FileBytes => FrameTableOffset + FrameTableBytes;

    public static int FramesFor(int pages, int pagesPerFrame) => (pages + pagesPerFrame - 1) / pagesPerFrame;

    /// <summary>Pages that a frame holds.</summary>
    public int PagesOf(int frame) => Math.Min(PagesPerFrame, PageCount - (frame * PagesPerFrame));

    /// <summary>Bytes that a frame decompresses to.</summary>
    public int RawBytesOf(int frame) => PagesOf(frame) * PageStoreLimits.PageBytes;

    /// <summary>The identity of a pack with these pages.</summary>
    public static Sha256Value IdOf(int pagesPerFrame, ReadOnlySpan<byte> pageTable)
    {
        Span<byte> prefix = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteInt32LittleEndian(prefix, pagesPerFrame);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(prefix);
        hash.AppendData(pageTable);
        Span<byte> digest = stackalloc byte[Sha256Value.Bytes];
        hash.GetHashAndReset(digest);
        return Sha256Value.Read(digest);
    }

    public byte[] Encode()
    {
        var bytes = new byte[Bytes];
        Magic.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), Version);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), PagesPerFrame);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(16), PageCount);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(20), FrameCount);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(24), DataBytes);
        Id.Write(bytes.AsSpan(32));
        BinaryPrimitives.WriteUInt128LittleEndian(bytes.AsSpan(64), FrameTableChecksum);
        BinaryPrimitives.WriteUInt128LittleEndian(bytes.AsSpan(CheckedBytes), FrameCodec.Checksum(bytes.AsSpan(0, CheckedBytes)));
        return bytes;
    }

    /// <param name="source">The pack's name, for messages.</param>
    /// <exception cref="ImageException">Malformed, DigestMismatch, UnsupportedVersion, LimitExceeded.</exception>
    public static PackHeader Decode(ReadOnlySpan<byte> bytes, string source)
    {
        if (!bytes.StartsWith(Magic))
            throw new ImageException(ImageFailure.Malformed, $"{source}: is no pack; run `snapshots fsck`");
        if (BinaryPrimitives.ReadUInt128LittleEndian(bytes[CheckedBytes..]) != FrameCodec.Checksum(bytes[..CheckedBytes]))
            throw new ImageException(ImageFailure.DigestMismatch, $"{source}: the header is damaged (its checksum differs); run `snapshots fsck`");
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) is not Version and var version)
            throw new ImageException(ImageFailure.UnsupportedVersion, $"{source}: has pack version {version}, this program reads {Version}; use a newer version of it");
        var pagesPerFrame = BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]);
        var pages = BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]);
        var frames = BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]);
        var data = BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]);
        if (pagesPerFrame is 0 or > PageStoreLimits.MaxPagesPerFrame || pages is 0 or > PageStoreLimits.MaxPackPages || data > (ulong)pages * PageStoreLimits.PageBytes)
            throw new ImageException(ImageFailure.LimitExceeded, $"{source}: claims {pages} pages, {pagesPerFrame} in a frame, {data} bytes of frames, which is beyond the limits; run `snapshots fsck`");
        if (frames != (uint)FramesFor((int)pages, (int)pagesPerFrame))
            throw new ImageException(ImageFailure.Malformed, $"{source}: {frames} frames cannot hold {pages} pages; run `snapshots fsck`");
        return new PackHeader((int)pagesPerFrame, (int)pages, (long)data, Sha256Value.Read(bytes[32..]), BinaryPrimitives.ReadUInt128LittleEndian(bytes[64..]));
    }

    /// <summary>The frame table's bytes.</summary>
    public static byte[] EncodeFrames(IReadOnlyList<FrameEntry> frames)
    {
        var bytes = new byte[frames.Count * FrameEntryBytes];
        for (var i = 0; i < frames.Count; i++)
        {
            var row = bytes.AsSpan(i * FrameEntryBytes);
            BinaryPrimitives.WriteInt32LittleEndian(row, frames[i].StoredBytes);
            BinaryPrimitives.WriteUInt128LittleEndian(row[8..], frames[i].Checksum);
        }
        return bytes;
    }

    /// <exception cref="ImageException">DigestMismatch, Malformed.</exception>
    public FrameEntry[] DecodeFrames(ReadOnlySpan<byte> bytes, string source)
    {
        if (FrameCodec.Checksum(bytes) != FrameTableChecksum)
            throw new ImageException(ImageFailure.DigestMismatch, $"{source}: the frame table is damaged (its checksum differs); run `snapshots fsck`");
        var frames = new FrameEntry[FrameCount];
        long offset = Bytes;
        for (var i = 0; i < frames.Length; i++)
        {
            var row = bytes[(i * FrameEntryBytes)..];
            var stored = BinaryPrimitives.ReadUInt32LittleEndian(row);
            if (stored > (uint)RawBytesOf(i) || BinaryPrimitives.ReadUInt32LittleEndian(row[4..]) != 0)
                throw new ImageException(ImageFailure.Malformed, $"{source}: frame {i} claims {stored} bytes for {PagesOf(i)} pages; run `snapshots fsck`");
            frames[i] = new FrameEntry(offset, (int)stored, BinaryPrimitives.ReadUInt128LittleEndian(row[8..]));
            offset += stored;
        }
        return offset == PageTableOffset ? frames : throw new ImageException(ImageFailure.Malformed, $"{source}: the frames do not add up to {DataBytes} bytes; run `snapshots fsck`");
    }
}
