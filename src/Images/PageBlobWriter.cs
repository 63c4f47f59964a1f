using System.Collections.Concurrent;
using System.Security.Cryptography;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>
/// Writes the page file: gathers pages into segments; a thread of its own hashes and writes each full segment while the caller, who holds a process
/// stopped, goes on gathering. Poisoned by its first failed write. Not thread-safe.
/// </summary>
internal sealed class PageBlobWriter : IPageSink, IDisposable
{
    // So much memory may wait for hashing and the disk before the caller does: the process being read is stopped meanwhile, so it is a lot.
    private const int SegmentsInFlight = 512;

    private readonly SafeFileHandle _file;
    private readonly BlockingCollection<byte[]> _free = [];
    private readonly BlockingCollection<(byte[] Buffer, int Length)> _full = [];
    private readonly IncrementalHash _whole = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly List<byte[]> _segmentDigests = [];
    private readonly Thread _thread;
    private byte[] _segment;
    private int _segmentLength;
    private ulong _appendedBytes;
    private long _writtenBytes;
    private volatile Exception? _failure;
    private int _bufferCount;
    private bool _finished;

    public PageBlobWriter(SafeFileHandle file, string path)
    {
        _file = file;
        FilePath = path;
        _segment = TakeBuffer();
        _thread = new Thread(WriteSegments) { IsBackground = true, Name = "page file" };
        _thread.Start();
    }

    public string FilePath { get; }

    public void Append(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(pages.Length % (int)PageSize.Bytes, 0, nameof(pages));
        ObjectDisposedException.ThrowIf(_finished, this);
        while (!pages.IsEmpty)
        {
            var count = PageZeros.RunLength(pages, out var zero);
            var run = pages[..(count * (int)PageSize.Bytes)];
            if (!zero)
                Store(pageIndex, run, extents);
            pageIndex += (ulong)count;
            pages = pages[run.Length..];
        }
    }

    public void AppendWithZeros(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(pages.Length % (int)PageSize.Bytes, 0, nameof(pages));
        ObjectDisposedException.ThrowIf(_finished, this);
        if (!pages.IsEmpty)
            Store(pageIndex, pages, extents);
    }

    /// <summary>Writes what is left, waits until all of it is on disk, and describes the file.</summary>
    public PageBlob Finish()
    {
        if (_segmentLength > 0)
            HandOver();
        Stop();
        ThrowIfFailed();
        try
        {
            RandomAccess.FlushToDisk(_file);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw Failed(cause);
        }
        var blob = new PageBlob
        {
            Sha256 = ByteString.CopyFrom(_whole.GetHashAndReset()),
            LengthBytes = _appendedBytes,
            SegmentBytes = ImageLimits.SegmentBytes,
        };
        foreach (var digest in _segmentDigests)
            blob.SegmentSha256.Add(ByteString.CopyFrom(digest));
        return blob;
    }

    public void Dispose()
    {
        Stop();
        _whole.Dispose();
        _file.Dispose();
        _free.Dispose();
        _full.Dispose();
    }

    private void Store(ulong pageIndex, ReadOnlySpan<byte> run, IList<PageExtent> extents)
    {
        if (_appendedBytes + (ulong)run.Length > ImageLimits.MaxPageBlobBytes)
            throw new ImageException(ImageFailure.LimitExceeded, $"{FilePath}: an image may hold {ImageLimits.MaxPageBlobBytes >> 30} GiB of pages; snapshot a smaller process");
        AddExtent(extents, pageIndex, (ulong)run.Length / PageSize.Bytes, _appendedBytes);
        _appendedBytes += (ulong)run.Length;
        while (!run.IsEmpty)
        {
            var part = run[..Math.Min(run.Length, _segment.Length - _segmentLength)];
            part.CopyTo(_segment.AsSpan(_segmentLength));
            _segmentLength += part.Length;
            run = run[part.Length..];
            if (_segmentLength == _segment.Length)
                HandOver();
        }
    }

    private static void AddExtent(IList<PageExtent> extents, ulong pageIndex, ulong pageCount, ulong blobOffset)
    {
        if (extents.Count > 0 && extents[^1] is { } last
            && last.PageIndex + last.PageCount == pageIndex && last.BlobOffset + (last.PageCount * PageSize.Bytes) == blobOffset)
            last.PageCount += pageCount;
        else
            extents.Add(new PageExtent { PageIndex = pageIndex, PageCount = pageCount, BlobOffset = blobOffset });
    }

    private void HandOver()
    {
        ThrowIfFailed();
        _full.Add((_segment, _segmentLength));
        _segment = TakeBuffer();
        _segmentLength = 0;
    }

    /// <summary>Makes buffers for so many bytes, touching every page: page faults are for now, not for when a process is stopped.</summary>
    public void Prepare(ulong bytes)
    {
        var wanted = (int)Math.Min(SegmentsInFlight, (bytes / ImageLimits.SegmentBytes) + 1);
        while (_bufferCount < wanted)
        {
            var buffer = GC.AllocateUninitializedArray<byte>(ImageLimits.SegmentBytes);
            for (var at = 0; at < buffer.Length; at += (int)PageSize.Bytes)
                buffer[at] = 1;
            _bufferCount++;
            _free.Add(buffer);
        }
    }

    private byte[] TakeBuffer()
    {
        if (_free.TryTake(out var free))
            return free;
        if (_bufferCount < SegmentsInFlight)
        {
            _bufferCount++;
            return GC.AllocateUninitializedArray<byte>(ImageLimits.SegmentBytes);
        }

        // Waits when the disk is slower than the caller; the writing thread gives buffers back even after it failed.
        return _free.Take();
    }

    private void WriteSegments()
    {
        foreach (var (buffer, length) in _full.GetConsumingEnumerable())
        {
            if (_failure is null)
                WriteSegment(buffer.AsMemory(0, length));
            _free.Add(buffer);
        }
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
        catch (Exception cause)
        {
            _failure = cause;
        }
        // Waited for in any case: the buffer is used again.
        try
        {
            hashing.Wait();
        }
        catch (AggregateException cause)
        {
            _failure ??= cause.InnerException;
        }
    }

    private void Stop()
    {
        if (_finished)
            return;
        _finished = true;
        _full.CompleteAdding();
        _thread.Join();
    }

    private void ThrowIfFailed()
    {
        if (_failure is { } cause)
            throw Failed(cause);
    }

    private ImageException Failed(Exception cause) =>
        new(ImageFailure.WriteFailed, $"{FilePath}: {cause.Message}; free space on that file system and create the snapshot again", cause);
}
