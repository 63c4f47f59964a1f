using System.Buffers.Binary;
using System.Globalization;
using System.IO.Hashing;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.PageStore.Cache;

// A file of the disk cache: blocks of one MiB of one object, those that were fetched. Sparse; integers are little-endian.
//
//        0 ┌───────────────────────────────────────────────────────────────┐
//          │  0  magic "SNAPCACH"                                          │
//          │  8  u32  version, 1                                           │ header, 64 bytes
//          │ 12  u32  bytes of a block                                     │
//          │ 16  key of the object, 16 bytes                               │
//          │ 32  u64  which MiB of it                                      │
//          │ 40  zeros                                                     │
//       64 ├───────────────────────────────────────────────────────────────┤
//          │ for each of 256 blocks: XxHash128 of its contents, seeded     │ table
//          │ with key and number; zeros: it is not here                    │
//     8192 ├───────────────────────────────────────────────────────────────┤
//          │ block 0 │ block 1 │ …                                         │ data
//          └───────────────────────────────────────────────────────────────┘
//
// Several processes write to one file without asking one another: a block is written before its checksum, all who write it write the same (the key includes
// the object's ETag), and what a crash, a full disk or anything else has spoilt has the wrong checksum, which is as good as not being here. So a file needs
// no temporary name: it is good block by block. Nothing is flushed, and a file may go at any time.

/// <summary>Which object, as two hashes: of its address, and of address and ETag.</summary>
internal readonly record struct CacheKey(ulong Address, UInt128 Value)
{
    public static CacheKey Of(string address, string version) => new(AddressOf(address), XxHash128.HashToUInt128(Encoding.UTF8.GetBytes($"{address}\n{version}")));

    public static ulong AddressOf(string address) => XxHash64.HashToUInt64(Encoding.UTF8.GetBytes(address));
}

/// <summary>Header and table of a file of the disk cache, as drawn above, and where it lies.</summary>
internal sealed class CacheFile
{
    public const int DataOffset = (HeadBytes + 4095) / 4096 * 4096;
    public const int FileBytes = PageStoreLimits.BlocksPerCacheFile * PageStoreLimits.CacheBlockBytes;

    private const uint Version = 1;
    private const int HeaderBytes = 64;
    private const int ChecksumBytes = 16;
    private const int HeadBytes = HeaderBytes + (PageStoreLimits.BlocksPerCacheFile * ChecksumBytes);

    private readonly byte[] _head;

    private CacheFile(byte[] head) => _head = head;

    private static ReadOnlySpan<byte> Magic => "SNAPCACH"u8;

    public static string PathOf(string directory, CacheKey key, long number)
    {
        return Path.Combine(FolderOf(directory, key.Address), string.Create(CultureInfo.InvariantCulture, $"{key.Address:x16}-{key.Value:x32}.{number}"));
    }

    /// <summary>Where all files of an object lie, with others, and how the names of its files begin, whatever its ETag.</summary>
    public static (string Folder, string Pattern) AllOf(string directory, ulong address) =>
        (FolderOf(directory, address), string.Create(CultureInfo.InvariantCulture, $"{address:x16}-*"));

    private static string FolderOf(string directory, ulong address) => Path.Combine(directory, (address >> 56).ToString("x2", CultureInfo.InvariantCulture));

    /// <summary>A file without blocks.</summary>
    public static CacheFile Empty(CacheKey key, long number)
    {
        var head = new byte[HeadBytes];
        Magic.CopyTo(head);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(8), Version);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(12), PageStoreLimits.CacheBlockBytes);
        BinaryPrimitives.WriteUInt128LittleEndian(head.AsSpan(16), key.Value);
        BinaryPrimitives.WriteInt64LittleEndian(head.AsSpan(32), number);
        return new CacheFile(head);
    }

    /// <summary>null for a file that was cut off, is of another version, or is not this one.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public static CacheFile? TryRead(SafeFileHandle file, CacheKey key, long number)
    {
        var read = TryRead(file);
        return read is not null && read._head.AsSpan(0, HeaderBytes).SequenceEqual(Empty(key, number)._head.AsSpan(0, HeaderBytes)) ? read : null;
    }

    /// <summary>How much of the disk the blocks of a file take, as its table says.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public static long DiskBytesOf(SafeFileHandle file) =>
        DataOffset + (TryRead(file) is { } read ? (long)Enumerable.Range(0, PageStoreLimits.BlocksPerCacheFile).Count(read.Has) * PageStoreLimits.CacheBlockBytes : 0);

    public static long OffsetOf(int block) => DataOffset + ((long)block * PageStoreLimits.CacheBlockBytes);

    public bool Has(int block) => ChecksumOf(block) != 0;

    public bool IsGood(int block, CacheKey key, ReadOnlySpan<byte> contents) => ChecksumOf(block) == Checksum(key, block, contents);

    /// <summary>Writes blocks that follow one another, then their checksums. The last may be shorter, where the object ends.</summary>
    /// <exception cref="IOException">The disk refused; blocks may be here whose checksum is not.</exception>
    public void Write(SafeFileHandle file, CacheKey key, int first, ReadOnlySpan<byte> contents)
    {
        RandomAccess.Write(file, contents, OffsetOf(first));
        var at = first;
        for (; !contents.IsEmpty; at++)
        {
            var block = contents[..Math.Min(contents.Length, PageStoreLimits.CacheBlockBytes)];
            BinaryPrimitives.WriteUInt128LittleEndian(_head.AsSpan(TableOffset(at)), Checksum(key, at, block));
            contents = contents[block.Length..];
        }
        RandomAccess.Write(file, _head.AsSpan(TableOffset(first), TableOffset(at) - TableOffset(first)), TableOffset(first));
        // Last: without it the file is nothing.
        RandomAccess.Write(file, _head.AsSpan(0, HeaderBytes), 0);
    }

    /// <summary>Says that blocks are not here.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public static void Forget(SafeFileHandle file, int first, int count) =>
        RandomAccess.Write(file, new byte[count * ChecksumBytes], TableOffset(first));

    private static CacheFile? TryRead(SafeFileHandle file)
    {
        var head = new byte[HeadBytes];
        return RandomAccess.Read(file, head, 0) == HeadBytes ? new CacheFile(head) : null;
    }

    private static int TableOffset(int block) => HeaderBytes + (block * ChecksumBytes);

    private static UInt128 Checksum(CacheKey key, int block, ReadOnlySpan<byte> contents) => XxHash128.HashToUInt128(contents, (long)(ulong)key.Value + block);

    private UInt128 ChecksumOf(int block) => BinaryPrimitives.ReadUInt128LittleEndian(_head.AsSpan(TableOffset(block)));
}
