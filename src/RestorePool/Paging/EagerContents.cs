using System.Buffers;
using System.Collections.Concurrent;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Programs;
using Snapshots.RestorePool.Templates;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// Reads the pages that a lazy template begins with, side by side, from when it is made: the template's process is built meanwhile. They are many small
/// pieces, each of which costs the disk or the link a wait of its own.
/// </summary>
/// <remarks>Not thread-safe. Holds no more than the pages themselves; <see cref="Dispose"/> waits for the readers.</remarks>
internal sealed class EagerContents : IDisposable
{
    private const int ReaderCount = 4;
    private const int PieceBytes = 256 << 10;
    private readonly BlockingCollection<(Piece Piece, byte[] Buffer)> _read = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _reading;

    /// <param name="pages">Of the image; open until this is disposed of.</param>
    public EagerContents(ProcessImage process, EagerPages eager, IPageReader pages)
    {
        var pieces = process.Mappings
            .Where(mapping => mapping.Kind != MappingKind.PrivateSharedMemory && !mapping.Has(VmFlags.WipeOnFork))
            .SelectMany(mapping => eager.ExtentsOf(mapping).SelectMany(extent => PiecesOf(mapping, extent)))
            .OrderBy(piece => piece.Offset)
            .ToList();
        _reading = Task.Run(() => Read(pieces, pages));
    }

    /// <summary>Writes everything into a template that waits for it.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ImageException">A page cannot be read.</exception>
    public long WriteTo(int pid)
    {
        var total = 0L;
        using var memory = PageLoader.OpenMemory(pid);
        foreach (var (piece, buffer) in _read.GetConsumingEnumerable())
        {
            var bytes = buffer.AsSpan(0, piece.LengthBytes);
            if (piece.OfFile)
                RandomAccess.Write(memory, bytes, (long)piece.Address.Value);
            else
                ProcessVm.Write(pid, piece.Address, bytes);
            ArrayPool<byte>.Shared.Return(buffer);
            total += piece.LengthBytes;
        }
        // Throws what the readers threw.
        _reading.GetAwaiter().GetResult();
        return total;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _reading.ContinueWith(static _ => { }, TaskScheduler.Default).Wait();
        _read.Dispose();
        _stop.Dispose();
    }

    private void Read(List<Piece> pieces, IPageReader pages)
    {
        try
        {
            var options = new ParallelOptions { MaxDegreeOfParallelism = ReaderCount, CancellationToken = _stop.Token };
            Parallel.ForEach(Partitioner.Create(pieces, EnumerablePartitionerOptions.NoBuffering), options, piece =>
            {
                var buffer = ArrayPool<byte>.Shared.Rent(piece.LengthBytes);
                pages.Read(piece.Offset, buffer.AsSpan(0, piece.LengthBytes));
                _read.Add((piece, buffer));
            });
        }
        catch (AggregateException several) when (several.InnerExceptions is [ImageException cause, ..])
        {
            throw new ImageException(cause.Failure, cause.Message, cause);
        }
        finally
        {
            _read.CompleteAdding();
        }
    }

    private static IEnumerable<Piece> PiecesOf(Mapping mapping, PageExtent extent)
    {
        var length = extent.PageCount * PageSize.Bytes;
        for (ulong done = 0; done < length; done += PieceBytes)
        {
            yield return new Piece(
                new VirtualAddress(mapping.Start + (extent.PageIndex * PageSize.Bytes) + done),
                extent.BlobOffset + done,
                (int)Math.Min(PieceBytes, length - done),
                OfFile: !MemoryCompiler.IsFilledThroughPages(mapping));
        }
    }

    /// <param name="OfFile">A private page of a file mapping.</param>
    private readonly record struct Piece(VirtualAddress Address, ulong Offset, int LengthBytes, bool OfFile);
}
