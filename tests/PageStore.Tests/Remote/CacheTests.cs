using Snapshots.Images;
using Snapshots.PageStore.Cache;
using Snapshots.PageStore.Remote;
using Xunit;

namespace Snapshots.PageStore.Tests.Remote;

/// <summary>The disk cache spares requests, stays below its limit, and is never believed.</summary>
public sealed class CacheTests : IDisposable
{
    private const int Block = PageStoreLimits.CacheBlockBytes;
    private static readonly byte[] Memory = TestImages.Pages(Enumerable.Range(0, 1000).Select(i => 1 + (2 * i)));
    private readonly FakeStore _store = new();

    public void Dispose() => _store.Dispose();

    [Fact]
    public void What_was_read_once_is_not_fetched_again_not_even_by_another_process()
    {
        _store.Create("a", Memory);
        Assert.Equal(Memory, _store.Read("a"));
        var other = _store.Open();
        Assert.Equal(Memory, TestImages.Read(other.Images, "a"));
        // Page map and pack header: what tells that the objects are there and are the same.
        Assert.Equal(2, other.RemoteStatistics!.Requests);
        Assert.InRange(other.RemoteStatistics.ReceivedBytes, 128, 1024);
        Assert.InRange(other.RemoteStatistics.CachedBytes, Memory.Length, 2 * Memory.Length);
    }

    [Fact]
    public void Reading_all_of_an_image_fetches_each_block_once()
    {
        _store.Create("a", Memory);
        var before = _store.Statistics.ReceivedBytes;
        Assert.Equal(Memory, _store.Read("a"));
        var pack = _store.Server.Objects[_store.Packs[0]].Length;
        Assert.InRange(_store.Statistics.ReceivedBytes - before, Memory.Length, pack + 1024);
    }

    [Fact]
    public void A_single_page_costs_little_more_than_its_frame()
    {
        _store.Create("a", Memory);
        using var image = _store.Store.Images.OpenImage("a");
        var before = _store.Statistics.ReceivedBytes;
        var requests = _store.Statistics.Requests;
        image.Pages.Read(500 * 4096, new byte[4096]);
        // A frame of 32 KiB, which does not compress here, rounded to blocks at both ends.
        Assert.Equal(1, _store.Statistics.Requests - requests);
        Assert.InRange(_store.Statistics.ReceivedBytes - before, 32 << 10, (32 << 10) + (2 * Block));
    }

    [Fact]
    public void Who_reads_in_order_but_leaves_much_out_is_fetched_nothing_ahead()
    {
        _store.Create("a", Memory);
        using var image = _store.Store.Images.OpenImage("a");
        var before = _store.Statistics.ReceivedBytes;
        var frames = 0;
        for (ulong page = 0; page + 8 < 1000; page += 16, frames++)
            image.Pages.Read(page * 4096, new byte[8 * 4096]);
        Assert.True(frames * 8 * 4096 > PageStoreLimits.ReadAheadAfterBytes);
        image.Dispose(); // Waits for what is fetched ahead.
        Assert.InRange(_store.Statistics.ReceivedBytes - before, frames * (32 << 10), frames * ((32 << 10) + (2 * Block)));
    }

    [Fact]
    public void Threads_that_want_the_same_block_share_one_request()
    {
        _store.Create("a", Memory);
        using var image = _store.Store.Images.OpenImage("a");
        var before = _store.Statistics.Requests;
        using var arrived = new CountdownEvent(8);
        // The answer waits until all have asked: had they asked the server, there were more requests by then.
        _store.Server.Faults = request =>
        {
            if (FakeStore.ReadsPack(request))
                arrived.Wait(TimeSpan.FromSeconds(10));
            return null;
        };
        var threads = Enumerable.Range(0, 8).Select(_ => new Thread(() =>
        {
            arrived.Signal();
            image.Pages.Read(0, new byte[4096]);
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Assert.Equal(1, _store.Statistics.Requests - before);
    }

    [Fact]
    public void Damage_anywhere_in_the_cache_is_noticed_and_made_good()
    {
        _store.Create("a", Memory);
        Assert.Equal(Memory, _store.Read("a"));
        var files = CacheFiles();
        Assert.NotEmpty(files);
        var random = new Random(3);
        for (var round = 0; round < 24; round++)
        {
            files = CacheFiles();
            var path = files[random.Next(files.Length)];
            using (var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite))
            {
                var length = RandomAccess.GetLength(file);
                // Half of them in header and table, which are small; behind the table is a gap.
                var at = random.NextInt64(round % 2 == 0 ? CacheFile.DataOffset : length);
                if (round % 5 == 4)
                    RandomAccess.SetLength(file, at);
                else
                    FlipBit(file, at, random.Next(8));
            }
            if (round % 7 == 6)
                File.Delete(path);
            Assert.True(Memory.AsSpan().SequenceEqual(_store.Read("a")), $"round {round}");
        }
        Assert.True(_store.Statistics.DamagedBlocks > 4);
        var before = _store.Statistics.Requests;
        Assert.Equal(Memory, _store.Read("a"));
        Assert.Equal(2, _store.Statistics.Requests - before);
    }

    [Fact]
    public void The_files_used_longest_ago_go_first_and_the_limit_holds()
    {
        var statistics = new RemoteStatistics();
        var cache = new BlockCache(_store.Cache, PageStoreLimits.MinCacheBytes, statistics, TimeSpan.Zero);
        var contents = new byte[CacheFile.FileBytes];
        new Random(1).NextBytes(contents);
        var precious = CacheKey.Of("precious", "1");
        for (var number = 0; number < 60; number++)
        {
            cache.Write(number == 0 ? precious : CacheKey.Of($"object {number}", "1"), 0, contents);
            Assert.InRange(cache.Measure(), 1, PageStoreLimits.MinCacheBytes);
            Assert.True(Has(cache, precious, 0), "what is in use has gone");
        }
        Assert.False(Has(cache, CacheKey.Of("object 1", "1"), 0));
        Assert.True(Has(cache, CacheKey.Of("object 59", "1"), 0));
        Assert.True(statistics.EvictedBytes > 40 * contents.Length);
        // Another process begins with what is there, and knows the limit too.
        var other = new BlockCache(_store.Cache, PageStoreLimits.MinCacheBytes / 2, new RemoteStatistics());
        other.Write(CacheKey.Of("new", "1"), 0, contents);
        Assert.InRange(other.Measure(), 1, PageStoreLimits.MinCacheBytes / 2);
    }

    [Fact]
    public void Several_writers_of_one_file_keep_each_others_blocks()
    {
        var caches = Enumerable.Range(0, 4).Select(_ => new BlockCache(_store.Cache, PageStoreLimits.MinCacheBytes, new RemoteStatistics())).ToArray();
        var key = CacheKey.Of("object", "1");
        var contents = new byte[CacheFile.FileBytes];
        new Random(1).NextBytes(contents);
        Parallel.For(0, PageStoreLimits.BlocksPerCacheFile, block => caches[block % 4].Write(key, block, contents.AsSpan(block * Block, Block)));
        var found = new bool[PageStoreLimits.BlocksPerCacheFile];
        var read = new byte[contents.Length];
        caches[0].Read(key, 0, read, found);
        Assert.All(found, Assert.True);
        Assert.Equal(contents, read);
    }

    [Fact]
    public void A_cache_that_cannot_be_written_costs_only_itself()
    {
        _store.Create("a", Memory);
        File.WriteAllText(_store.Cache, "where the directory should be");
        Assert.Equal(Memory, _store.Read("a"));
        Assert.True(_store.Statistics.FailedCacheWrites >= 1);
        Assert.Equal(0, _store.Statistics.CachedBytes);
        File.Delete(_store.Cache);
    }

    [Fact]
    public void A_cache_whose_disk_is_full_costs_only_itself()
    {
        _store.Create("a", Memory);
        Directory.CreateDirectory(_store.Cache);
        DiskFullTests.Run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", _store.Cache);
        try
        {
            for (var round = 0; round < 3; round++)
                Assert.Equal(Memory, _store.Read("a"));
            Assert.True(_store.Statistics.FailedCacheWrites >= 1);
        }
        finally
        {
            DiskFullTests.Run("umount", _store.Cache);
        }
    }

    [Fact]
    public void An_object_that_took_the_name_of_another_has_blocks_of_its_own()
    {
        _store.Create("a", Memory);
        Assert.Equal(Memory, _store.Read("a"));
        _store.Store.Images.Remove("a");
        Assert.Empty(_store.Packs);
        Assert.Empty(CacheFiles());
        _store.Create("a", Memory);
        Assert.Equal(Memory, _store.Read("a"));
        var key = Assert.Single(_store.Packs);
        _store.Server.Objects[key] = TestImages.Pages(Enumerable.Repeat(5, 100));
        Assert.Equal(ImageFailure.Malformed, Assert.Throws<ImageException>(() => _store.Read("a")).Failure);
    }

    private static bool Has(BlockCache cache, CacheKey key, long block)
    {
        var found = new bool[1];
        cache.Read(key, block, new byte[Block], found);
        return found[0];
    }

    private string[] CacheFiles() => Directory.GetFiles(_store.Cache, "*", SearchOption.AllDirectories).Where(path => Path.GetFileName(path) != "lock").ToArray();

    private static void FlipBit(Microsoft.Win32.SafeHandles.SafeFileHandle file, long at, int bit)
    {
        var value = new byte[1];
        RandomAccess.Read(file, value, at);
        value[0] ^= (byte)(1 << bit);
        RandomAccess.Write(file, value, at);
    }
}
