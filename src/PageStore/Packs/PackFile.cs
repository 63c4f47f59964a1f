using Snapshots.Images;

namespace Snapshots.PageStore.Packs;

/// <summary>A pack opened for reading: its header and frame table are checked, its frames when they are read. Thread-safe.</summary>
internal sealed class PackFile : IDisposable
{
    private readonly IPackObject _object;
    private readonly FrameEntry[] _frames;

    private PackFile(IPackObject @object, PackHeader header, FrameEntry[] frames)
    {
        _object = @object;
        Header = header;
        _frames = frames;
    }

    public PackHeader Header { get; }

    public string Location => _object.Location;

    public long LengthBytes => _object.LengthBytes;

    public IReadOnlyList<FrameEntry> Frames => _frames;

    /// <param name="opened">Becomes the pack's, also when this fails.</param>
    /// <param name="id">What it must be; null when anything will do.</param>
    /// <exception cref="ImageException">Truncated, DigestMismatch, Malformed, LimitExceeded, UnsupportedVersion.</exception>
    public static PackFile Open(IPackObject opened, Sha256Value? id)
    {
        try
        {
            Span<byte> start = stackalloc byte[PackHeader.Bytes];
            opened.Read(0, start);
            var header = PackHeader.Decode(start, opened.Location);
            if (header.FileBytes != opened.LengthBytes)
                throw new ImageException(ImageFailure.Truncated, $"{opened.Location}: has {opened.LengthBytes} bytes instead of {header.FileBytes}; run `snapshots fsck`");
            if (id is { } wanted && header.Id != wanted)
                throw new ImageException(ImageFailure.DigestMismatch, $"{opened.Location}: is the pack {header.Id}, not {wanted}; run `snapshots fsck`");
            return new PackFile(opened, header, ReadFrames(opened, header));
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <summary>The SHA-256 of every page, dropped ones too; proved by the identity.</summary>
    /// <exception cref="ImageException">Truncated, DigestMismatch.</exception>
    public byte[] ReadPageTable()
    {
        var table = new byte[Header.PageTableBytes];
        _object.Read(Header.PageTableOffset, table);
        var good = PackHeader.IdOf(Header.PagesPerFrame, table) == Header.Id
            || (_object.ReadAnew(Header.PageTableOffset, table) && PackHeader.IdOf(Header.PagesPerFrame, table) == Header.Id);
        return good
            ? table
            : throw new ImageException(ImageFailure.DigestMismatch, $"{Location}: the page table is damaged (SHA-256 differs); run `snapshots fsck`");
    }

    /// <summary>The stored bytes of frames that follow one another. Not checked yet.</summary>
    /// <exception cref="ImageException">Truncated.</exception>
    public void ReadStored(int firstFrame, Span<byte> stored) => _object.Read(_frames[firstFrame].Offset, stored);

    /// <summary>Checks the stored bytes of a frame and decompresses them. What a cache gave and is damaged is read once more from where it came.</summary>
    /// <param name="stored">As read; other bytes when it was read again.</param>
    /// <exception cref="ImageException">DigestMismatch: damaged; <paramref name="raw"/> holds nothing that may be used. Truncated.</exception>
    public void Unpack(int frame, Span<byte> stored, Span<byte> raw)
    {
        Check(frame, stored);
        if (!FrameCodec.TryDecompress(stored, raw))
            throw new ImageException(ImageFailure.DigestMismatch, $"{Location}: frame {frame} does not decompress; `snapshots fsck` tells which snapshots need it");
    }

    /// <summary>The stored bytes of one frame, checked.</summary>
    /// <exception cref="ImageException">Truncated, DigestMismatch.</exception>
    public void ReadChecked(int frame, Span<byte> stored)
    {
        ReadStored(frame, stored);
        Check(frame, stored);
    }

    public void Dispose() => _object.Dispose();

    private void Check(int frame, Span<byte> stored)
    {
        var good = FrameCodec.Checksum(stored) == _frames[frame].Checksum
            || (_object.ReadAnew(_frames[frame].Offset, stored) && FrameCodec.Checksum(stored) == _frames[frame].Checksum);
        if (!good)
            throw new ImageException(ImageFailure.DigestMismatch, $"{Location}: frame {frame} is damaged (its checksum differs); `snapshots fsck` tells which snapshots need it");
    }

    private static FrameEntry[] ReadFrames(IPackObject opened, PackHeader header)
    {
        var table = new byte[header.FrameTableBytes];
        opened.Read(header.FrameTableOffset, table);
        try
        {
            return header.DecodeFrames(table, opened.Location);
        }
        catch (ImageException) when (opened.ReadAnew(header.FrameTableOffset, table))
        {
            return header.DecodeFrames(table, opened.Location);
        }
    }
}
