using System.Buffers;
using System.Collections.Concurrent;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// Reads the pages that a lazy template begins with, side by side, from when it is made: the template's process is built meanwhile. They are many small
/// pieces, each of which costs the disk or the link a wait of its own.
/// </summary>
/// <remarks>Not thread-safe. Holds no more than the pages themselves; <see cref="Dispose"/> stops the readers and waits for them.</remarks>
internal sealed class EagerContents : IDisposable
{
    private const int NearReaders = 8;
    private const int FarReaders = 16;
    private const int PieceBytes = 256 << 10;
    private readonly BlockingCollection<(Piece Piece, byte[] Buffer)> _read = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _reading;

    /// <param name="pages">Of the image; open until this is disposed of.</param>
    public EagerContents(ProcessImage process, EagerPages eager, IPageReader pages)
    {
        var pieces = process.Mappings
            .Where(mapping => mapping.Kind != MappingKind.PrivateSharedMemory && !mapping.Has(VmFlags.WipeOnFork))
            .SelectMany(mapping => eager.ExtentsOf(mapping).SelectMany(extent => PiecesOf(mapping, extent, eager.IsRegistered(mapping))))
            .OrderBy(piece => piece.Offset);
        var left = new ConcurrentQueue<Piece>(pieces);
        // Threads of their own: they wait for the disk, and a pool would give us as many as there are processors.
        var readers = Enumerable.Range(0, pages.IsRemote ? FarReaders : NearReaders)
            .Select(_ => Task.Factory.StartNew(() => Read(left, pages), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default));
        _reading = Task.WhenAll(readers.ToList());
        _reading.ContinueWith(_ => _read.CompleteAdding(), TaskScheduler.Default);
    }

    /// <summary>
    /// Writes everything into a template that waits for it. What is registered goes through <paramref name="door"/>: that makes a page of the contents, where a write makes one of
    /// zeros first.
    /// </summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ImageException">A page cannot be read.</exception>
    public long WriteTo(int pid, Userfaultfd door)
    {
        // Twice as fast as alone where there are two processors: most of the time goes into page faults.
        var second = Task.Factory.StartNew(() => Drain(pid, door), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        var total = Drain(pid, door) + second.GetAwaiter().GetResult();
        // Throws what the readers threw.
        _reading.GetAwaiter().GetResult();
        return total;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _reading.ContinueWith(static _ => { }, TaskScheduler.Default).Wait();
        _stop.Dispose();
    }

    private long Drain(int pid, Userfaultfd door)
    {
        var total = 0L;
        using var memory = ProcessMemoryWrite.Open(pid);
        foreach (var (piece, buffer) in _read.GetConsumingEnumerable())
        {
            var bytes = buffer.AsSpan(0, piece.LengthBytes);
            if (piece.Registered)
                Copy(door, piece.Address, bytes);
            else if (piece.OfFile)
                ProcessMemoryWrite.Write(memory, pid, piece.Address, bytes);
            else
                ProcessVm.Write(pid, piece.Address, bytes);
            ArrayPool<byte>.Shared.Return(buffer);
            total += piece.LengthBytes;
        }
        return total;
    }

    private static void Copy(Userfaultfd door, VirtualAddress address, ReadOnlySpan<byte> pages)
    {
        // It waits for its contents and changes nothing meanwhile.
        if (door.Copy(address, pages, out var copied) is not Errno.None and var errno)
            throw new LinuxException("ioctl(UFFDIO_COPY)", errno, $"{pages.Length - copied} bytes at {address + (ulong)copied} of a template");
    }

    private void Read(ConcurrentQueue<Piece> pieces, IPageReader pages)
    {
        while (!_stop.IsCancellationRequested && pieces.TryDequeue(out var piece))
        {
            var buffer = ArrayPool<byte>.Shared.Rent(piece.LengthBytes);
            pages.Read(piece.Offset, buffer.AsSpan(0, piece.LengthBytes));
            _read.Add((piece, buffer));
        }
    }

    private static IEnumerable<Piece> PiecesOf(Mapping mapping, PageExtent extent, bool registered)
    {
        var length = extent.PageCount * PageSize.Bytes;
        for (ulong done = 0; done < length; done += PieceBytes)
        {
            yield return new Piece(
                new VirtualAddress(mapping.Start + (extent.PageIndex * PageSize.Bytes) + done),
                extent.BlobOffset + done,
                (int)Math.Min(PieceBytes, length - done),
                OfFile: !MemoryCompiler.IsFilledThroughPages(mapping),
                registered);
        }
    }

    /// <param name="OfFile">A private page of a file mapping.</param>
    /// <param name="Registered">In a range that asks for what it lacks.</param>
    private readonly record struct Piece(VirtualAddress Address, ulong Offset, int LengthBytes, bool OfFile, bool Registered);
}
