using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Host.Clones;

/// <summary>
/// One stream of a clone on disk, capped. Made at the first byte, so that silent clones cost no file. One writer (the output pump);
/// readers from any thread.
/// </summary>
public sealed class LogFile(string path, long capBytes) : IDisposable
{
    private readonly Lock _gate = new();
    private SafeFileHandle? _file;
    private TaskCompletionSource _changed = NewSignal();
    private long _written;
    private bool _closed;

    public string Path { get; } = path;

    /// <summary>Bytes the clone wrote, also those beyond the cap.</summary>
    public long TotalBytes { get; private set; }

    /// <summary>Why writing stopped before the cap (disk full, directory removed); null when all is well.</summary>
    public string? Failure { get; private set; }

    /// <summary>Appends what fits below the cap. A failing disk ends the log, not the clone: see <see cref="Failure"/>.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        TaskCompletionSource changed;
        lock (_gate)
        {
            if (_closed)
                return;
            var fitting = bytes[..(int)Math.Min(bytes.Length, Math.Max(0, capBytes - _written))];
            if (!fitting.IsEmpty && Failure is null)
                WriteAtEnd(fitting);
            TotalBytes += bytes.Length;
            (changed, _changed) = (_changed, NewSignal());
        }
        changed.SetResult();
    }

    /// <summary>Ends the log: says in it what was dropped, and wakes the readers.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_closed)
                return;
            _closed = true;
            if (TotalBytes > capBytes && Failure is null)
                WriteAtEnd(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\n[{TotalBytes - capBytes} more bytes were dropped: a stream's log holds {capBytes}]\n")));
            _file?.Dispose();
        }
        _changed.SetResult();
    }

    /// <summary>Reads from <paramref name="offset"/>; zero bytes mean that nothing is there (yet).</summary>
    public int Read(long offset, Span<byte> destination)
    {
        lock (_gate)
        {
            if (_file is null)
                return 0;
            if (!_file.IsClosed)
                return RandomAccess.Read(_file, destination, offset);
        }
        try
        {
            using var file = File.OpenHandle(Path);
            return RandomAccess.Read(file, destination, offset);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // Forgotten between the reader's look-up and now.
            return 0;
        }
    }

    /// <summary>Completes when bytes beyond <paramref name="offset"/> may be there; false when none will ever be.</summary>
    public async Task<bool> WaitBeyond(long offset, CancellationToken cancellation)
    {
        Task changed;
        lock (_gate)
        {
            if (_written > offset)
                return true;
            if (_closed)
                return false;
            changed = _changed.Task;
        }
        await changed.WaitAsync(cancellation).ConfigureAwait(false);
        return true;
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private void WriteAtEnd(ReadOnlySpan<byte> bytes)
    {
        try
        {
            _file ??= Create();
            RandomAccess.Write(_file, bytes, _written);
            _written += bytes.Length;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Failure = e.Message;
        }
    }

    private SafeFileHandle Create()
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path)!);
        return File.OpenHandle(Path, FileMode.Create, FileAccess.ReadWrite, FileShare.Read);
    }
}
