using System.Buffers.Binary;
using Snapshots.Images;

namespace Snapshots.PageStore.Maps;

// A page map: which pages of which packs are the page space of one image, in its order. Integers are little-endian. Named by its SHA-256, which the
// manifest holds together with its length: both are compared before a byte of it is looked at.
//
//        0 ┌───────────────────────────────────────────────────┐
//          │  0  magic "SNAPPMAP"                              │
//          │  8  u32  version, 1                               │ header, 32 bytes
//          │ 12  u32  packs                                    │
//          │ 16  u64  pages                                    │
//          │ 24  u32  runs                                     │
//          │ 28  u32  zero                                     │
//       32 ├───────────────────────────────────────────────────┤
//          │ for each pack: its identity, 32 bytes             │ packs
//          ├───────────────────────────────────────────────────┤
//          │ for each run, in the order of the page space:     │ runs
//          │   u32 pages, u32 pack, u32 first page in the pack │
//          └───────────────────────────────────────────────────┘
//
// A run may span frames: page p of a pack is in frame p / pages in a frame, slot p mod pages in a frame.

/// <summary>Pages of the page space that follow one another in a pack too.</summary>
internal readonly record struct PageRun(int PageCount, int Pack, int FirstPage);

/// <summary>A page map in memory.</summary>
internal sealed class PageMap(IReadOnlyList<Sha256Value> packs, IReadOnlyList<PageRun> runs)
{
    private const uint Version = 1;
    private const int HeaderBytes = 32;
    private const int RunBytes = 12;

    public IReadOnlyList<Sha256Value> Packs { get; } = packs;

    public IReadOnlyList<PageRun> Runs { get; } = runs;

    private static ReadOnlySpan<byte> Magic => "SNAPPMAP"u8;

    /// <exception cref="ImageException">LimitExceeded.</exception>
    public byte[] Encode()
    {
        var length = HeaderBytes + ((long)Packs.Count * Sha256Value.Bytes) + ((long)Runs.Count * RunBytes);
        if (length > (long)ImageLimits.MaxPageMapBytes || Packs.Count > PageStoreLimits.MaxPacksOfImage)
            throw new ImageException(ImageFailure.LimitExceeded, $"the pages lie in {Packs.Count} packs and {Runs.Count} runs, which no page map may hold; snapshot a smaller process, or use another store");
        var bytes = new byte[length];
        Magic.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), Version);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), Packs.Count);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(16), Runs.Sum(run => (long)run.PageCount));
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(24), Runs.Count);
        var at = HeaderBytes;
        foreach (var pack in Packs)
        {
            pack.Write(bytes.AsSpan(at));
            at += Sha256Value.Bytes;
        }
        foreach (var run in Runs)
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at), run.PageCount);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at + 4), run.Pack);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at + 8), run.FirstPage);
            at += RunBytes;
        }
        return bytes;
    }

    /// <summary>Parses a map whose digest was compared already; who holds the result may index by its numbers, but for the size of the packs.</summary>
    /// <param name="lengthBytes">Of the page space, as the manifest says.</param>
    /// <param name="source">For messages.</param>
    /// <exception cref="ImageException">Malformed, UnsupportedVersion, LimitExceeded.</exception>
    public static PageMap Decode(ReadOnlySpan<byte> bytes, ulong lengthBytes, string source)
    {
        Require(bytes.Length >= HeaderBytes && bytes.StartsWith(Magic), source, "it is no page map");
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) is not Version and var version)
            throw new ImageException(ImageFailure.UnsupportedVersion, $"{source}: has page map version {version}, this program reads {Version}; use a newer version of it");
        var packCount = BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]);
        var runCount = BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]);
        if (packCount > PageStoreLimits.MaxPacksOfImage)
            throw new ImageException(ImageFailure.LimitExceeded, $"{source}: {packCount} packs; at most {PageStoreLimits.MaxPacksOfImage} are allowed");
        Require(bytes.Length == HeaderBytes + ((long)packCount * Sha256Value.Bytes) + ((long)runCount * RunBytes), source, "its length does not fit its counts");
        var pages = lengthBytes / PageStoreLimits.PageBytes;
        Require(BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]) == pages && BinaryPrimitives.ReadUInt32LittleEndian(bytes[28..]) == 0, source, "it is not that of this manifest");
        var packs = new Sha256Value[packCount];
        for (var i = 0; i < packs.Length; i++)
            packs[i] = Sha256Value.Read(bytes[(HeaderBytes + (i * Sha256Value.Bytes))..]);
        Require(packs.Distinct().Count() == packs.Length, source, "it names a pack twice");
        return new PageMap(packs, DecodeRuns(bytes[(HeaderBytes + (packs.Length * Sha256Value.Bytes))..], (int)runCount, packCount, pages, source));
    }

    private static PageRun[] DecodeRuns(ReadOnlySpan<byte> bytes, int runCount, uint packCount, ulong pages, string source)
    {
        var runs = new PageRun[runCount];
        ulong sum = 0;
        for (var i = 0; i < runs.Length; i++)
        {
            var row = bytes[(i * RunBytes)..];
            var count = BinaryPrimitives.ReadUInt32LittleEndian(row);
            var pack = BinaryPrimitives.ReadUInt32LittleEndian(row[4..]);
            var first = BinaryPrimitives.ReadUInt32LittleEndian(row[8..]);
            Require(count > 0 && pack < packCount && (ulong)first + count <= PageStoreLimits.MaxPackPages, source, $"run {i} lies outside its pack");
            runs[i] = new PageRun((int)count, (int)pack, (int)first);
            sum += count;
        }
        Require(sum == pages, source, "its runs do not add up to its pages");
        return runs;
    }

    private static void Require(bool holds, string source, string problem)
    {
        if (!holds)
            throw new ImageException(ImageFailure.Malformed, $"{source}: {problem}; create the snapshot again");
    }
}
