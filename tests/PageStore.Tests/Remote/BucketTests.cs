using Snapshots.PageStore.Remote;
using Xunit;

namespace Snapshots.PageStore.Tests.Remote;

/// <summary>The calls to a bucket, each against the server of its own process.</summary>
public sealed class BucketTests : IDisposable
{
    private readonly string _prefix = $"bucket/{Path.GetRandomFileName()}/";
    private readonly S3Bucket _bucket = Open(listPage: 3);

    public void Dispose()
    {
        _bucket.Dispose();
        Directory.Delete(Path.Combine(S3Server.Shared.Objects, _prefix), recursive: true);
    }

    [Fact]
    public void Lists_of_several_pages_are_complete()
    {
        for (var i = 0; i < 11; i++)
            Assert.True(_bucket.PutBytes($"{_prefix}list/{i}", new byte[i + 1]));
        _bucket.PutBytes($"{_prefix}other", [1]);
        var listed = _bucket.List($"{_prefix}list/");
        Assert.Equal(Enumerable.Range(0, 11).Select(i => $"{_prefix}list/{i}").Order(StringComparer.Ordinal), listed.Select(stored => stored.Name).Order(StringComparer.Ordinal));
        Assert.Equal(66, listed.Sum(stored => stored.LengthBytes));
        Assert.Single(_bucket.List($"{_prefix}list/", atMost: 1));
    }

    [Fact]
    public async Task Ranges_come_back_and_end_where_the_object_does()
    {
        var contents = new byte[3 << 20];
        new Random(1).NextBytes(contents);
        _bucket.PutBytes($"{_prefix}ranges", contents);
        var random = new Random(2);
        for (var round = 0; round < 30; round++)
        {
            var from = random.Next(contents.Length);
            var read = new byte[random.Next(1, 100_000)];
            var answer = await _bucket.TryReadAsync($"{_prefix}ranges", null, from, read, Images.ImageFailure.Truncated);
            Assert.Equal((contents.Length, Math.Min(read.Length, contents.Length - from)), (answer!.Value.LengthBytes, answer.Value.Bytes));
            Assert.True(read.AsSpan(0, answer.Value.Bytes).SequenceEqual(contents.AsSpan(from, answer.Value.Bytes)));
        }
        Assert.Null(await _bucket.TryReadAsync($"{_prefix}nothing", null, 0, new byte[5], Images.ImageFailure.Truncated));
        Assert.Equal(0, (await _bucket.TryReadAsync($"{_prefix}ranges", null, contents.Length, new byte[5], Images.ImageFailure.Truncated))!.Value.Bytes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(PageStoreLimits.RemotePartBytes)]
    [InlineData(PageStoreLimits.RemotePartBytes + 1)]
    [InlineData((2 * PageStoreLimits.RemotePartBytes) + 12345)]
    public async Task What_is_put_is_there_whole_once(int length)
    {
        var contents = new byte[length];
        new Random(length).NextBytes(contents);
        var key = $"{_prefix}put";
        Assert.Null(_bucket.TryHead(key));
        Assert.True(_bucket.PutBytes(key, contents));
        Assert.Equal(length, _bucket.TryHead(key)!.Value.LengthBytes);
        Assert.False(_bucket.PutBytes(key, new byte[length + 1]));
        var read = new byte[length + 10];
        Assert.Equal(length, (await _bucket.TryReadAsync(key, null, 0, read, Images.ImageFailure.Truncated))!.Value.Bytes);
        Assert.True(read.AsSpan(0, length).SequenceEqual(contents));
        Assert.Empty(S3Server.Shared.Uploads.SelectMany(Directory.GetFileSystemEntries));
        _bucket.Delete(key);
        _bucket.Delete(key);
        Assert.Null(_bucket.TryHead(key));
    }

    private static S3Bucket Open(int listPage) =>
        new(PackPlacement.Parse($"s3://{S3Server.Bucket}/bucket", S3Server.Shared.Endpoint, PackPlacement.DefaultRegion, PageStoreLimits.MinCacheBytes), new RemoteStatistics(), S3Times.Default, listPage);
}
