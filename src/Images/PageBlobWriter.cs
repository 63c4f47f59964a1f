using System.Security.Cryptography;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>Writes a page file (version 1: one image, its pages as they are). Not thread-safe.</summary>
internal sealed class PageBlobWriter : IPageWriter
{
    private readonly StoreLayout _layout;
    private readonly SafeFileHandle _file;
    private readonly string _path;
    private readonly IncrementalHash _whole = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly List<byte[]> _segmentDigests = [];
    private readonly PageGatherer _gatherer;
    private long _writtenBytes;
    private string? _hex;
    private bool _published;

    /// <param name="file">The file at <paramref name="path"/>, new and locked; it becomes the writer's.</param>
    public PageBlobWriter(StoreLayout layout, SafeFileHandle file, string path)
    {
        _layout = layout;
        _file = file;
        _path = path;
        _gatherer = new PageGatherer(path, (segment, _) => WriteSegment(segment));
    }

    public void Append(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents) => _gatherer.Append(pageIndex, pages, extents);

    public void AppendWithZeros(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents) => _gatherer.AppendWithZeros(pageIndex, pages, extents);

    public void AppendFromParent(ulong pageIndex, ulong pageCount, ulong parentOffset, IList<PageExtent> extents) =>
        throw new InvalidOperationException("a page file holds the pages of one image; layers need packs");

    public void Prepare(ulong bytes) => _gatherer.Prepare(bytes);

    public PageBlob Finish()
    {
        _gatherer.Finish();
        try
        {
            RandomAccess.FlushToDisk(_file);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{_path}: {cause.Message}; free space on that file system and create the snapshot again", cause);
        }
        var digest = _whole.GetHashAndReset();
        _hex = Convert.ToHexStringLower(digest);
        var blob = new PageBlob { Sha256 = ByteString.CopyFrom(digest), LengthBytes = _gatherer.LengthBytes, SegmentBytes = ImageLimits.SegmentBytes };
        foreach (var segment in _segmentDigests)
            blob.SegmentSha256.Add(ByteString.CopyFrom(segment));
        return blob;
    }

    public void Publish()
    {
        // Closed before others can see the file: the lock that marks it as being written must not meet readers.
        _file.Dispose();
        // An existing blob of the same name holds the same bytes, or is damaged: replacing it is right either way.
        File.Move(_path, _layout.BlobPath(_hex ?? throw new InvalidOperationException("not finished")), overwrite: true);
        _published = true;
    }

    public void Dispose()
    {
        _gatherer.Dispose();
        _whole.Dispose();
        _file.Dispose();
        if (!_published)
            File.Delete(_path);
    }

    // Hashing twice costs about as much as writing: done side by side, the caller's wait is half as long.
    private void WriteSegment(ReadOnlyMemory<byte> segment)
    {
        var hashing = Task.Run(() =>
        {
            _segmentDigests.Add(SHA256.HashData(segment.Span));
            _whole.AppendData(segment.Span);
        });
        try
        {
            RandomAccess.Write(_file, segment.Span, _writtenBytes);
            _writtenBytes += segment.Length;
        }
        finally
        {
            // Waited for in any case: the buffer is used again.
            hashing.GetAwaiter().GetResult();
        }
    }
}
