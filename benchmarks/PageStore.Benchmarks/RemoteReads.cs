using System.Diagnostics;
using System.Globalization;
using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore;
using Snapshots.PageStore.Remote;

/// <summary>
/// What reading an image from an object store costs: bytes, requests, time. A cold cache is an empty one; each figure has a store opened for it alone, so that
/// connections are made anew, as by an agent that has just started.
/// </summary>
internal static class RemoteReads
{
    private const int PieceBytes = 4 << 20;

    public static int Run(string directory, string name, int pages)
    {
        if (Open(directory).Placement is not { } placement)
        {
            Console.Error.WriteLine($"{directory}: keeps its packs itself; make one with `snapshots init --packs`");
            return 2;
        }
        Console.WriteLine($"{name} in {placement.Address}");
        foreach (var cache in new[] { "cold", "warm" })
            Measure(directory, name, $"bulk load, {cache} cache", cache == "cold", (reader, _) => ReadAll(reader));
        foreach (var cache in new[] { "cold", "warm" })
            Measure(directory, name, $"{pages} single pages, {cache} cache", cache == "cold", (reader, _) => ReadPages(reader, pages, threads: 1));
        Measure(directory, name, $"{pages} single pages by 16 threads, cold cache", forget: true, (reader, _) => ReadPages(reader, pages, threads: 16));
        return 0;
    }

    private static void Measure(string directory, string name, string what, bool forget, Func<IPageReader, RemoteStatistics, ulong> read)
    {
        var cache = Path.Combine(directory, "cache");
        if (forget && Directory.Exists(cache))
            Directory.Delete(cache, recursive: true);
        var store = Open(directory);
        var statistics = store.RemoteStatistics!;
        var clock = Stopwatch.StartNew();
        using var image = store.Images.OpenImage(name);
        var opened = clock.Elapsed;
        var (openRequests, openBytes) = (statistics.Requests, statistics.ReceivedBytes);
        var bytes = read(image.Pages, statistics);
        var seconds = (clock.Elapsed - opened).TotalSeconds;
        Console.WriteLine();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  open      {opened.TotalMilliseconds:F1} ms, {openRequests} requests, {openBytes} bytes"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  read      {seconds * 1000:F1} ms for {bytes} bytes of pages: {bytes / seconds / 1e6:F0} MB/s of pages, {(statistics.ReceivedBytes - openBytes) * 8 / seconds / 1e6:F0} Mbit/s on the link"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  in all    {statistics}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  received  {(double)statistics.ReceivedBytes / bytes:F3} of the pages read"));
    }

    private static ulong ReadAll(IPageReader reader)
    {
        var piece = new byte[PieceBytes];
        for (ulong at = 0; at < reader.LengthBytes; at += PieceBytes)
            reader.Read(at, piece.AsSpan(0, (int)Math.Min(PieceBytes, reader.LengthBytes - at)));
        return reader.LengthBytes;
    }

    private static ulong ReadPages(IPageReader reader, int pages, int threads)
    {
        var random = new Random(1);
        var order = Enumerable.Range(0, pages).Select(_ => (ulong)random.NextInt64((long)reader.LengthBytes / PageStoreLimits.PageBytes) * PageStoreLimits.PageBytes).ToArray();
        var next = -1;
        var workers = Enumerable.Range(0, threads).Select(_ => new Thread(() =>
        {
            var page = new byte[PageStoreLimits.PageBytes];
            for (int i; (i = Interlocked.Increment(ref next)) < order.Length;)
                reader.Read(order[i], page);
        })).ToList();
        workers.ForEach(worker => worker.Start());
        workers.ForEach(worker => worker.Join());
        return (ulong)pages * PageStoreLimits.PageBytes;
    }

    private static SnapshotStore Open(string directory) => SnapshotStore.Open(directory, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
}
