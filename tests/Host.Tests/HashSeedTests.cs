using Snapshots.Images;
using Xunit;

namespace Snapshots.Host.Tests;

public sealed class HashSeedTests : IDisposable
{
    private readonly DirectoryInfo _store = Directory.CreateTempSubdirectory("snapshots-seed-");

    public void Dispose() => _store.Delete(recursive: true);

    [Fact]
    public void A_store_has_one_seed_whoever_asks_first()
    {
        var seeds = new uint[16];
        Parallel.For(0, seeds.Length, i => seeds[i] = HashSeed.Of(_store.FullName));
        Assert.Single(seeds.Distinct());
        Assert.NotEqual(0u, seeds[0]);
        var file = Assert.Single(_store.GetFiles());
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode);
    }

    [Theory]
    [InlineData("")]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("4294967296")]
    [InlineData("a seed")]
    [InlineData("12345678901234567890123456789012345678901234567890")]
    public void What_is_no_seed_is_refused_by_name(string contents)
    {
        var path = Path.Combine(_store.FullName, "hash-seed");
        File.WriteAllText(path, contents);
        var refused = Assert.Throws<ImageException>(() => HashSeed.Of(_store.FullName));
        Assert.Equal(ImageFailure.Malformed, refused.Failure);
        Assert.Contains(path, refused.Message, StringComparison.Ordinal);
    }
}
