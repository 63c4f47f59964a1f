using Microsoft.Win32.SafeHandles;
using Snapshots.Images;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Transfer;

/// <summary>A file taken apart from front to back; no length that it claims is believed before it was compared with what is there. Not thread-safe.</summary>
internal sealed class FileSection : IDisposable
{
    private readonly SafeFileHandle _file;
    private long _offset;

    /// <exception cref="ImageException">NotFound: it is not there or cannot be opened.</exception>
    public FileSection(string path)
    {
        Path = path;
        try
        {
            _file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.NotFound, $"{path}: cannot be opened: {cause.Message}; name a file that `snapshots export` wrote", cause);
        }
        LengthBytes = RandomAccess.GetLength(_file);
    }

    public string Path { get; }

    public long LengthBytes { get; }

    /// <summary>The next bytes, without going on.</summary>
    /// <exception cref="ImageException">Truncated.</exception>
    public byte[] Peek(long lengthBytes)
    {
        Require(lengthBytes);
        var bytes = new byte[lengthBytes];
        Read(_offset, bytes);
        return bytes;
    }

    /// <summary>The next bytes.</summary>
    /// <exception cref="ImageException">Truncated.</exception>
    public byte[] Take(long lengthBytes)
    {
        var bytes = Peek(lengthBytes);
        _offset += lengthBytes;
        return bytes;
    }

    /// <summary>The next bytes as an object of their own, readable as long as this is.</summary>
    /// <exception cref="ImageException">Truncated.</exception>
    public IPackObject TakeObject(long lengthBytes)
    {
        Require(lengthBytes);
        var part = new Part(this, _offset, lengthBytes);
        _offset += lengthBytes;
        return part;
    }

    /// <exception cref="ImageException">Truncated: something follows.</exception>
    public void RequireEnd()
    {
        if (_offset != LengthBytes)
            throw new ImageException(ImageFailure.Truncated, $"{Path}: has {LengthBytes} bytes instead of {_offset}; export or copy it again");
    }

    public void Dispose() => _file.Dispose();

    private void Require(long lengthBytes)
    {
        if (lengthBytes > LengthBytes - _offset)
            throw new ImageException(ImageFailure.Truncated, $"{Path}: ends at {LengthBytes}, {lengthBytes - (LengthBytes - _offset)} bytes early; export or copy it again");
    }

    private void Read(long offset, Span<byte> destination)
    {
        try
        {
            for (int count; !destination.IsEmpty; destination = destination[count..], offset += count)
            {
                count = RandomAccess.Read(_file, destination, offset);
                if (count == 0)
                    throw new ImageException(ImageFailure.Truncated, $"{Path}: ends at {offset}, {destination.Length} bytes early; it was cut while it was read");
            }
        }
        catch (IOException cause)
        {
            throw new ImageException(ImageFailure.Truncated, $"{Path}: cannot read at {offset}: {cause.Message}; check the disk", cause);
        }
    }

    private sealed class Part(FileSection file, long start, long lengthBytes) : IPackObject
    {
        public string Location => file.Path;

        public long LengthBytes => lengthBytes;

        public void Read(long offset, Span<byte> destination)
        {
            if (offset < 0 || destination.Length > lengthBytes - offset)
                throw new ImageException(ImageFailure.Truncated, $"{file.Path}: a pack ends early; export or copy it again");
            file.Read(start + offset, destination);
        }

        public void Dispose()
        {
            // The file is the section's.
        }
    }
}
