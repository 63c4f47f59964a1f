using Microsoft.Win32.SafeHandles;

namespace Snapshots.PageStore.Packs;

/// <summary>Writes one pack into a file of its own: frames as they come, tables and header last. Not thread-safe.</summary>
internal sealed class PackBuilder : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly int _pagesPerFrame;
    private readonly List<FrameEntry> _frames = [];
    private readonly MemoryStream _pageTable = new();
    private long _offset = PackHeader.Bytes;

    /// <exception cref="IOException">The file cannot be made.</exception>
    public PackBuilder(string path, int pagesPerFrame)
    {
        FilePath = path;
        _pagesPerFrame = pagesPerFrame;
        _file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read);
    }

    public string FilePath { get; }

    /// <summary>Pages named so far; their frames may still be missing.</summary>
    public int PageCount => (int)(_pageTable.Length / Sha256Value.Bytes);

    /// <summary>Names the next page.</summary>
    public void AddPage(Sha256Value page)
    {
        Span<byte> bytes = stackalloc byte[Sha256Value.Bytes];
        page.Write(bytes);
        _pageTable.Write(bytes);
    }

    /// <summary>Takes the page table of another pack, for one that is written again.</summary>
    public void AddPages(ReadOnlySpan<byte> pageTable) => _pageTable.Write(pageTable);

    /// <summary>Writes the next frame; none of <paramref name="stored"/> for one that is dropped.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public void AddFrame(ReadOnlySpan<byte> stored, UInt128 checksum)
    {
        RandomAccess.Write(_file, stored, _offset);
        _frames.Add(new FrameEntry(_offset, stored.Length, checksum));
        _offset += stored.Length;
    }

    /// <summary>Completes the pack; it is on disk when this returns, under the path it was begun with.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    public PackHeader Complete()
    {
        var pageTable = _pageTable.GetBuffer().AsSpan(0, (int)_pageTable.Length);
        var frameTable = PackHeader.EncodeFrames(_frames);
        var header = new PackHeader(_pagesPerFrame, PageCount, _offset - PackHeader.Bytes, PackHeader.IdOf(_pagesPerFrame, pageTable), FrameCodec.Checksum(frameTable));
        if (header.FrameCount != _frames.Count)
            throw new InvalidOperationException($"{FilePath}: {header.PageCount} pages in {_frames.Count} frames");
        RandomAccess.Write(_file, pageTable, header.PageTableOffset);
        RandomAccess.Write(_file, frameTable, header.FrameTableOffset);
        RandomAccess.Write(_file, header.Encode(), 0);
        RandomAccess.FlushToDisk(_file);
        _file.Dispose();
        return header;
    }

    public void Dispose()
    {
        _file.Dispose();
        _pageTable.Dispose();
    }
}
