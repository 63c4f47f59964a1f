using Microsoft.Win32.SafeHandles;
using Snapshots.PageStore.Remote;

namespace Snapshots.PageStore.Cache;

/// <summary>
/// Blocks of remote objects on the local disk, up to a size; the files used longest ago go first. It may forget anything at any time and never fails: what it
/// cannot read it does not have, and what it cannot write it does not take (<see cref="RemoteStatistics"/> counts both). Safe for use by several threads and processes.
/// <code>
///   STORE/cache/3f/3f9c…-a8e6….7     one MiB of one object: hash of its address, hash of address and ETag, which MiB (CacheFile)
///   STORE/cache/lock                 locked by who makes room
/// </code>
/// </summary>
internal sealed class BlockCache
{
    // A disk that is full or broken is left alone for a while: each try costs time, and read-ahead without a cache would fetch everything twice.
    private static readonly TimeSpan PauseAfterFailure = TimeSpan.FromSeconds(10);

    private readonly string _directory;
    private readonly long _limitBytes;
    private readonly RemoteStatistics _statistics;
    private readonly TimeSpan _useResolution;
    private readonly Lock _gate = new();
    // Guarded by _gate: written by this process since it last looked at all files; at once too much when it has not looked yet.
    private long _addedBytes;
    private bool _makingRoom;
    private long _failedAt;

    /// <param name="useResolution">That a file was used is noted when its last note is so old: notes are writes.</param>
    public BlockCache(string directory, long limitBytes, RemoteStatistics statistics, TimeSpan? useResolution = null)
    {
        _directory = directory;
        _limitBytes = limitBytes;
        _statistics = statistics;
        _useResolution = useResolution ?? TimeSpan.FromSeconds(1);
        _addedBytes = limitBytes;
    }

    public long LimitBytes => _limitBytes;

    /// <summary>False for a while after the disk has refused.</summary>
    public bool TakesBlocks => Environment.TickCount64 >= Interlocked.Read(ref _failedAt);

    // So much by each process between two looks at all files. Together with the eighth that is kept free, eight processes stay below the limit.
    private long LookAfterBytes => Math.Max(CacheFile.FileBytes, _limitBytes / 64);

    /// <summary>Reads the blocks of a range that are here and good.</summary>
    /// <param name="firstBlock">Of the object.</param>
    /// <param name="into">Whole blocks; the last may be shorter, where the object ends.</param>
    /// <param name="found">One for each block; left as it is where it is true already.</param>
    public void Read(CacheKey key, long firstBlock, Span<byte> into, Span<bool> found)
    {
        for (var at = 0; at < found.Length;)
        {
            var number = (firstBlock + at) / PageStoreLimits.BlocksPerCacheFile;
            var inFile = (int)((firstBlock + at) % PageStoreLimits.BlocksPerCacheFile);
            var count = Math.Min(found.Length - at, PageStoreLimits.BlocksPerCacheFile - inFile);
            var part = found.Slice(at, count);
            if (part.Contains(false))
                ReadFile(key, number, inFile, into[(at * PageStoreLimits.CacheBlockBytes)..], part);
            at += count;
        }
    }

    /// <summary>Takes blocks that follow one another.</summary>
    public void Write(CacheKey key, long firstBlock, ReadOnlySpan<byte> contents)
    {
        while (!contents.IsEmpty && TakesBlocks)
        {
            var inFile = (int)(firstBlock % PageStoreLimits.BlocksPerCacheFile);
            var part = contents[..Math.Min(contents.Length, (PageStoreLimits.BlocksPerCacheFile - inFile) * PageStoreLimits.CacheBlockBytes)];
            WriteFile(key, firstBlock / PageStoreLimits.BlocksPerCacheFile, inFile, part);
            firstBlock += PageStoreLimits.BlocksPerCacheFile - inFile;
            contents = contents[part.Length..];
        }
    }

    /// <summary>Drops blocks whose contents were found wrong by who knows better.</summary>
    public void Forget(CacheKey key, long firstBlock, int count)
    {
        for (var block = firstBlock; block < firstBlock + count; block++)
        {
            try
            {
                using var file = Open(CacheFile.PathOf(_directory, key, block / PageStoreLimits.BlocksPerCacheFile), FileMode.Open);
                CacheFile.Forget(file, (int)(block % PageStoreLimits.BlocksPerCacheFile), 1);
            }
            catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
            {
                // It is gone, or the disk is broken: who asks reads past the cache anyway.
            }
        }
    }

    /// <summary>Drops all blocks of an object that is deleted. One that a reader fetches at this moment may stay, until it is the oldest.</summary>
    public void Drop(string address)
    {
        var (folder, pattern) = CacheFile.AllOf(_directory, CacheKey.AddressOf(address));
        try
        {
            foreach (var path in Directory.EnumerateFiles(folder, pattern))
                File.Delete(path);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            // Nothing of it is here, or the disk is broken: nobody asks for these blocks again.
        }
    }

    /// <summary>What the cache takes on the disk now.</summary>
    public long Measure() => Files().Sum(file => file.Bytes);

    private void ReadFile(CacheKey key, long number, int first, Span<byte> into, Span<bool> found)
    {
        try
        {
            using var file = Open(CacheFile.PathOf(_directory, key, number), FileMode.Open);
            if (CacheFile.TryRead(file, key, number) is not { } head)
                return;
            for (var i = 0; i < found.Length; i++)
            {
                var start = i;
                for (; i < found.Length && !found[i] && head.Has(first + i); i++)
                {
                    // A row of blocks that are here is read at once.
                }
                if (i > start)
                    ReadRow(file, head, key, first + start, into[(start * PageStoreLimits.CacheBlockBytes)..Math.Min(into.Length, i * PageStoreLimits.CacheBlockBytes)], found[start..i]);
            }
            NoteUse(file);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            // Not here, or not readable: the blocks are fetched.
        }
    }

    private void ReadRow(SafeFileHandle file, CacheFile head, CacheKey key, int first, Span<byte> into, Span<bool> found)
    {
        var got = RandomAccess.Read(file, into, CacheFile.OffsetOf(first));
        for (var i = 0; i < found.Length; i++)
        {
            var start = i * PageStoreLimits.CacheBlockBytes;
            var block = into[start..Math.Min(into.Length, start + PageStoreLimits.CacheBlockBytes)];
            found[i] = start + block.Length <= got && head.IsGood(first + i, key, block);
            if (found[i])
                _statistics.CountCached(block.Length);
            else
                _statistics.CountDamaged();
        }
    }

    private void WriteFile(CacheKey key, long number, int first, ReadOnlySpan<byte> contents)
    {
        var path = CacheFile.PathOf(_directory, key, number);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            using (var file = Open(path, FileMode.OpenOrCreate))
                (CacheFile.TryRead(file, key, number) ?? CacheFile.Empty(key, number)).Write(file, key, first, contents);
            MakeRoom(contents.Length);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            _statistics.CountFailedWrite();
            Interlocked.Exchange(ref _failedAt, Environment.TickCount64 + (long)PauseAfterFailure.TotalMilliseconds);
        }
    }

    private void NoteUse(SafeFileHandle file)
    {
        var now = DateTime.UtcNow;
        if (now - File.GetLastWriteTimeUtc(file) >= _useResolution)
            File.SetLastWriteTimeUtc(file, now);
    }

    private void MakeRoom(long added)
    {
        lock (_gate)
        {
            _addedBytes += added;
            if (_makingRoom || _addedBytes < LookAfterBytes)
                return;
            _makingRoom = true;
            _addedBytes = 0;
        }
        try
        {
            // Not there while another process makes room: it does so for us too.
            using var alone = File.OpenHandle(Path.Combine(_directory, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            Evict();
        }
        catch (IOException)
        {
            // As said.
        }
        finally
        {
            lock (_gate)
                _makingRoom = false;
        }
    }

    private void Evict()
    {
        var files = Files();
        var total = files.Sum(file => file.Bytes);
        if (total <= _limitBytes - (_limitBytes / 8))
            return;
        foreach (var (path, bytes, _) in files.OrderBy(file => file.Used))
        {
            if (total <= _limitBytes - (_limitBytes / 4))
                return;
            File.Delete(path);
            _statistics.CountEvicted(bytes);
            total -= bytes;
        }
    }

    private List<(string Path, long Bytes, DateTime Used)> Files()
    {
        var found = new List<(string Path, long Bytes, DateTime Used)>();
        if (!Directory.Exists(_directory))
            return found;
        foreach (var path in Directory.EnumerateDirectories(_directory).SelectMany(Directory.EnumerateFiles))
        {
            try
            {
                using var file = Open(path, FileMode.Open);
                found.Add((path, CacheFile.DiskBytesOf(file), File.GetLastWriteTimeUtc(file)));
            }
            catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
            {
                // Evicted by another process since it was listed.
            }
        }
        return found;
    }

    private static SafeFileHandle Open(string path, FileMode mode) =>
        File.OpenHandle(path, mode, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
}
