using System.Buffers;
using Snapshots.Images;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Remote;

/// <summary>
/// A pack storage in a bucket: <c>PREFIX/domains/DOMAIN/packs/…</c>. Opening an object costs one request, which brings the beginning of it too. Objects are told
/// from later ones of the same name by their ETag: what is read comes from one of them. Safe for use by several threads and processes.
/// </summary>
internal sealed class S3PackStorage(S3Bucket bucket, string prefix) : IPackStorage
{
    public bool IsRemote => true;

    public IPackStorage Uncached => this;

    public string LocationOf(string name) => bucket.AddressOf(prefix + name);

    IPackObject? IPackStorage.TryOpen(string name, int firstBytes) => TryOpen(name, firstBytes);

    /// <inheritdoc cref="IPackStorage.TryOpen"/>
    public S3PackObject? TryOpen(string name, int firstBytes)
    {
        var key = prefix + name;
        if (firstBytes == 0)
            return bucket.TryHead(key) is { } head ? new S3PackObject(bucket, key, head, ReadOnlyMemory<byte>.Empty) : null;
        var first = new byte[firstBytes];
        return bucket.TryReadAsync(key, null, 0, first, ImageFailure.NotFound).GetAwaiter().GetResult() is { } answer
            ? new S3PackObject(bucket, key, answer, first.AsMemory(0, answer.Bytes))
            : null;
    }

    public bool Exists(string name) => bucket.TryHead(prefix + name) is not null;

    public IReadOnlyList<StoredObject> List(string names) =>
        [.. bucket.List(prefix + names).Select(stored => stored with { Name = stored.Name[prefix.Length..] })];

    public bool PutIfAbsent(string name, string path)
    {
        var stored = bucket.PutFile(prefix + name, path);
        File.Delete(path);
        return stored;
    }

    public void Delete(string name) => bucket.Delete(prefix + name);
}

/// <summary>An object in a bucket, opened for ranged reads. Thread-safe.</summary>
internal sealed class S3PackObject(S3Bucket bucket, string key, S3Answer opened, ReadOnlyMemory<byte> first) : IPackObject
{
    public string Location => bucket.AddressOf(key);

    public long LengthBytes => opened.LengthBytes;

    /// <summary>Tells it from other objects that had or get the same name.</summary>
    public string Version => opened.Version;

    /// <summary>The beginning of it, which came when it was opened.</summary>
    public ReadOnlySpan<byte> First => first.Span;

    public void Read(long offset, Span<byte> destination)
    {
        if (offset + destination.Length <= First.Length)
        {
            First.Slice((int)offset, destination.Length).CopyTo(destination);
            return;
        }
        var buffer = ArrayPool<byte>.Shared.Rent(destination.Length);
        try
        {
            ReadAsync(offset, buffer.AsMemory(0, destination.Length)).GetAwaiter().GetResult();
            buffer.AsSpan(0, destination.Length).CopyTo(destination);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>As <see cref="Read"/>; a long range by several requests at once.</summary>
    /// <exception cref="ImageException">Truncated.</exception>
    public Task ReadAsync(long offset, Memory<byte> destination)
    {
        if (offset < 0 || destination.Length > LengthBytes - offset)
            throw new ImageException(ImageFailure.Truncated, $"{Location}: ends at {LengthBytes}, {offset + destination.Length - LengthBytes} bytes early; run `snapshots fsck`");
        return destination.Length <= PageStoreLimits.RemoteRangeBytes ? ReadRangeAsync(offset, destination) : ReadRangesAsync(offset, destination);
    }

    public void Dispose()
    {
        // Nothing is held: each read is a request of its own.
    }

    private async Task ReadRangesAsync(long offset, Memory<byte> destination)
    {
        var ranges = new List<Task>();
        for (var at = 0; at < destination.Length; at += PageStoreLimits.RemoteRangeBytes)
            ranges.Add(ReadRangeAsync(offset + at, destination.Slice(at, Math.Min(PageStoreLimits.RemoteRangeBytes, destination.Length - at))));
        // All of them, also when one fails: the destination must not be written to afterwards.
        await Task.WhenAll(ranges).ConfigureAwait(false);
    }

    private async Task ReadRangeAsync(long offset, Memory<byte> destination)
    {
        var answer = await bucket.TryReadAsync(key, Version, offset, destination, ImageFailure.Truncated).ConfigureAwait(false)
            ?? throw new ImageException(ImageFailure.Truncated, $"{Location}: was deleted while it was open; open the snapshot again");
        if (answer.Bytes != destination.Length)
            throw new ImageException(ImageFailure.Truncated, $"{Location}: ends at {offset + answer.Bytes}, {destination.Length - answer.Bytes} bytes early; run `snapshots fsck`");
    }
}
