using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>
/// Reads the page file. A segment that a request covers whole is read into place and hashed there; of others the whole segment is read, hashed and
/// kept a while, since the next request usually continues in it. So a load from front to back reads and hashes every byte once.
/// Segments hashed before are read again without hashing: the store is write-once.
/// </summary>
internal sealed class FilePageReader : IPageReader
{
    private const int KeptSegments = 4;

    private readonly SafeFileHandle _file;
    private readonly string _path;
    private readonly PageBlob _blob;
    private readonly bool[] _verified;
    // Both guarded by _gate: the most recently verified last; buffers are used again, since touching new memory costs more than hashing it.
    private readonly List<(int Index, byte[] Contents)> _kept = [];
    private readonly Stack<byte[]> _free = [];
    private readonly Lock _gate = new();

    public FilePageReader(SafeFileHandle file, string path, PageBlob blob)
    {
        _file = file;
        _path = path;
        _blob = blob;
        _verified = new bool[blob.SegmentSha256.Count];
    }

    public ulong LengthBytes => _blob.LengthBytes;

    public void Read(ulong blobOffset, Span<byte> destination)
    {
        if (blobOffset > LengthBytes || (ulong)destination.Length > LengthBytes - blobOffset)
            throw new ArgumentOutOfRangeException(nameof(blobOffset), $"{_path}: {destination.Length} bytes at {blobOffset} lie outside its {LengthBytes} bytes");
        while (!destination.IsEmpty)
        {
            var index = (int)(blobOffset / _blob.SegmentBytes);
            var inSegment = (int)(blobOffset % _blob.SegmentBytes);
            var part = destination[..Math.Min(destination.Length, SegmentLength(index) - inSegment)];
            ReadPart(index, inSegment, part);
            blobOffset += (ulong)part.Length;
            destination = destination[part.Length..];
        }
    }

    public void Dispose() => _file.Dispose();

    private void ReadPart(int index, int inSegment, Span<byte> part)
    {
        if (part.Length == SegmentLength(index))
        {
            ReadExactly(index, 0, part);
            if (!Volatile.Read(ref _verified[index]))
                Verify(index, part);
            return;
        }
        if (TryCopyKept(index, inSegment, part))
            return;
        if (Volatile.Read(ref _verified[index]))
        {
            ReadExactly(index, inSegment, part);
            return;
        }
        var contents = TakeBuffer();
        var segment = contents.AsSpan(0, SegmentLength(index));
        ReadExactly(index, 0, segment);
        Verify(index, segment);
        segment.Slice(inSegment, part.Length).CopyTo(part);
        Keep(index, contents);
    }

    private byte[] TakeBuffer()
    {
        lock (_gate)
        {
            if (_free.TryPop(out var used))
                return used;
        }
        return GC.AllocateUninitializedArray<byte>((int)Math.Min(_blob.SegmentBytes, LengthBytes));
    }

    private bool TryCopyKept(int index, int inSegment, Span<byte> part)
    {
        lock (_gate)
        {
            var at = _kept.FindIndex(kept => kept.Index == index);
            if (at < 0)
                return false;
            _kept[at].Contents.AsSpan(inSegment, part.Length).CopyTo(part);
            return true;
        }
    }

    private void Keep(int index, byte[] contents)
    {
        lock (_gate)
        {
            if (_kept.Count == KeptSegments)
            {
                _free.Push(_kept[0].Contents);
                _kept.RemoveAt(0);
            }
            _kept.Add((index, contents));
        }
    }

    private void Verify(int index, ReadOnlySpan<byte> contents)
    {
        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(contents, digest);
        if (!digest.SequenceEqual(_blob.SegmentSha256[index].Span))
            throw new ImageException(ImageFailure.DigestMismatch,
                $"{_path}: the contents at {(ulong)index * _blob.SegmentBytes} are damaged (SHA-256 differs); remove the snapshot and create it again");
        Volatile.Write(ref _verified[index], true);
    }

    private void ReadExactly(int index, int inSegment, Span<byte> destination)
    {
        var offset = ((long)index * _blob.SegmentBytes) + inSegment;
        while (!destination.IsEmpty)
        {
            int count;
            try
            {
                count = RandomAccess.Read(_file, destination, offset);
            }
            catch (IOException cause)
            {
                throw new ImageException(ImageFailure.Truncated, $"{_path}: cannot read at {offset}: {cause.Message}; check the disk, then create the snapshot again", cause);
            }
            if (count == 0)
                throw new ImageException(ImageFailure.Truncated, $"{_path}: ends at {offset} instead of {LengthBytes}; remove the snapshot and create it again");
            offset += count;
            destination = destination[count..];
        }
    }

    private int SegmentLength(int index) => (int)Math.Min(_blob.SegmentBytes, LengthBytes - ((ulong)index * _blob.SegmentBytes));
}
