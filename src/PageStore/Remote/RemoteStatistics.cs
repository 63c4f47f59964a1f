namespace Snapshots.PageStore.Remote;

/// <summary>What a store's packs in an object store have cost this process so far. Bodies only: a request with its answer has some 1.5 KB of headers. Thread-safe.</summary>
public sealed class RemoteStatistics
{
    private long _requests;
    private long _retries;
    private long _receivedBytes;
    private long _sentBytes;
    private long _cachedBytes;
    private long _damagedBlocks;
    private long _failedWrites;
    private long _evictedBytes;

    /// <summary>HTTP requests, repeated ones too.</summary>
    public long Requests => Interlocked.Read(ref _requests);

    /// <summary>Answers that were cut off or failed on the way and were asked for again, from where they ended.</summary>
    public long ResumedAnswers => Interlocked.Read(ref _retries);

    /// <summary>Contents of objects that came from the object store.</summary>
    public long ReceivedBytes => Interlocked.Read(ref _receivedBytes);

    /// <summary>Contents of objects that went there.</summary>
    public long SentBytes => Interlocked.Read(ref _sentBytes);

    /// <summary>Blocks that the disk cache gave, in bytes.</summary>
    public long CachedBytes => Interlocked.Read(ref _cachedBytes);

    /// <summary>Blocks of the disk cache whose checksum was wrong; they were fetched again.</summary>
    public long DamagedBlocks => Interlocked.Read(ref _damagedBlocks);

    /// <summary>Blocks or files that the disk cache could not take, because its disk is full or refuses; reads went on without.</summary>
    public long FailedCacheWrites => Interlocked.Read(ref _failedWrites);

    /// <summary>What left the disk cache to keep it below its limit.</summary>
    public long EvictedBytes => Interlocked.Read(ref _evictedBytes);

    public override string ToString() =>
        string.Create(
            System.Globalization.CultureInfo.InvariantCulture,
            $"{Requests} requests, {ReceivedBytes} bytes received, {SentBytes} sent, {CachedBytes} from the cache, {ResumedAnswers} answers resumed, {DamagedBlocks} blocks damaged, {FailedCacheWrites} cache writes failed, {EvictedBytes} bytes evicted");

    internal void CountRequest() => Interlocked.Increment(ref _requests);

    internal void CountResumed() => Interlocked.Increment(ref _retries);

    internal void CountReceived(long bytes) => Interlocked.Add(ref _receivedBytes, bytes);

    internal void CountSent(long bytes) => Interlocked.Add(ref _sentBytes, bytes);

    internal void CountCached(long bytes) => Interlocked.Add(ref _cachedBytes, bytes);

    internal void CountDamaged() => Interlocked.Increment(ref _damagedBlocks);

    internal void CountFailedWrite() => Interlocked.Increment(ref _failedWrites);

    internal void CountEvicted(long bytes) => Interlocked.Add(ref _evictedBytes, bytes);
}
