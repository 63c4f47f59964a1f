using System.Text.Json.Nodes;
using Snapshots.Images;
using Snapshots.PageStore.Remote;
using Xunit;

namespace Snapshots.PageStore.Tests.Remote;

/// <summary>packs.json, and how a store comes to have one.</summary>
public sealed class PlacementTests : IDisposable
{
    private readonly FakeS3Server _server = new();
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-placement-");

    private string File => Path.Combine(_directory.FullName, PackPlacement.FileName);

    public void Dispose()
    {
        _server.Dispose();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public void A_placement_is_written_and_read_back()
    {
        var placed = Place("s3://farm/one/two");
        Assert.Equal(placed, PackPlacement.TryRead(File));
        Assert.Equal(placed, SnapshotStore.Open(_directory.FullName, TestStore.Files).Placement);
        Assert.Equal(placed.StoreId + "\n", System.Text.Encoding.ASCII.GetString(_server.Objects["one/two/owner"]));
        Assert.DoesNotContain(Environment.GetEnvironmentVariable("AWS_SECRET_ACCESS_KEY")!, System.IO.File.ReadAllText(File), StringComparison.Ordinal);
        Assert.Null(PackPlacement.TryRead(File + "x"));
    }

    [Fact]
    public void Endpoint_and_cache_may_change_and_the_place_may_not()
    {
        var placed = Place("s3://farm/one");
        var changed = StoreSetup.Place(_directory.FullName, TestStore.Files, PackPlacement.Parse("s3://farm/one/", _server.Endpoint, "eu-west-1", 32 << 20));
        Assert.Equal(placed with { Region = "eu-west-1", CacheBytes = 32 << 20 }, changed);
        Assert.Contains("s3://farm/one;", Refusal("s3://farm/other"), StringComparison.Ordinal);
        Assert.Equal(changed, PackPlacement.TryRead(File));
    }

    [Fact]
    public void A_store_that_holds_packs_keeps_them()
    {
        using (var writer = SnapshotStore.Open(_directory.FullName, TestStore.Files).Images.CreateWriter())
            TestImages.Commit(writer, "a", TestImages.Memory(1, 10));
        Assert.Contains("holds packs already", Refusal("s3://farm/one"), StringComparison.Ordinal);
        Assert.Empty(_server.Objects);
    }

    [Fact]
    public void A_prefix_belongs_to_one_store()
    {
        Place("s3://farm/one");
        var other = Directory.CreateTempSubdirectory("snapshots-placement-");
        try
        {
            var refused = Assert.Throws<ImageException>(() => StoreSetup.Place(other.FullName, TestStore.Files, Parse("s3://farm/one")));
            Assert.Contains("names another store", refused.Message, StringComparison.Ordinal);
            _server.Objects["two/domains/default/maps/x"] = [1];
            refused = Assert.Throws<ImageException>(() => StoreSetup.Place(other.FullName, TestStore.Files, Parse("s3://farm/two")));
            Assert.Contains("two/domains/default/maps/x", refused.Message, StringComparison.Ordinal);
            Assert.False(System.IO.File.Exists(Path.Combine(other.FullName, PackPlacement.FileName)));
        }
        finally
        {
            other.Delete(recursive: true);
        }
    }

    [Fact]
    public void What_died_before_the_last_step_is_finished_by_the_same_call()
    {
        var placed = Place("s3://farm/one");
        System.IO.File.Move(File, File + ".new");
        Assert.Null(SnapshotStore.Open(_directory.FullName, TestStore.Files).Placement);
        Assert.Equal(placed, Place("s3://farm/one"));
    }

    public static TheoryData<string, JsonNode?, ImageFailure> Wrongs => new()
    {
        { "version", 2, ImageFailure.UnsupportedVersion },
        { "version", 0, ImageFailure.Malformed },
        { "version", "1", ImageFailure.Malformed },
        { "storage", "ftp", ImageFailure.Malformed },
        { "bucket", "Not A Bucket", ImageFailure.Malformed },
        { "bucket", null, ImageFailure.Malformed },
        { "prefix", "one/../two", ImageFailure.Malformed },
        { "prefix", "/one", ImageFailure.Malformed },
        { "prefix", "", ImageFailure.Malformed },
        { "endpoint", "ftp://host", ImageFailure.Malformed },
        { "endpoint", "http://user:secret@host", ImageFailure.Malformed },
        { "endpoint", 5, ImageFailure.Malformed },
        { "region", "", ImageFailure.Malformed },
        { "cache_bytes", 5, ImageFailure.Malformed },
        { "cache_bytes", 1.5, ImageFailure.Malformed },
        { "store", "xyz", ImageFailure.Malformed },
        { "unheard_of", 1, ImageFailure.Malformed },
    };

    [Theory(DisableDiscoveryEnumeration = true)]
    [MemberData(nameof(Wrongs))]
    public void A_file_that_breaks_a_rule_is_refused_with_its_name_and_the_key(string key, JsonNode? value, ImageFailure expected)
    {
        System.IO.File.WriteAllBytes(File, Parse("s3://farm/one").Encode());
        var file = JsonNode.Parse(System.IO.File.ReadAllText(File))!;
        file[key] = value;
        System.IO.File.WriteAllText(File, file.ToJsonString());
        var refused = Assert.Throws<ImageException>(() => SnapshotStore.Open(_directory.FullName, TestStore.Files));
        Assert.Equal(expected, refused.Failure);
        Assert.StartsWith(File, refused.Message, StringComparison.Ordinal);
        Assert.Contains(key, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{\"version\":1")]
    public void What_is_no_placement_is_refused(string text)
    {
        System.IO.File.WriteAllText(File, text);
        Assert.Equal(ImageFailure.Malformed, Assert.Throws<ImageException>(() => PackPlacement.TryRead(File)).Failure);
    }

    [Theory]
    [InlineData("s3://farm")]
    [InlineData("s3://farm/")]
    [InlineData("farm/one")]
    [InlineData("s3://FARM/one")]
    public void What_is_no_address_is_refused(string address) => Assert.Equal(ImageFailure.Malformed, Assert.Throws<ImageException>(() => Parse(address)).Failure);

    private PackPlacement Place(string address) => StoreSetup.Place(_directory.FullName, TestStore.Files, Parse(address));

    private PackPlacement Parse(string address) => PackPlacement.Parse(address, _server.Endpoint, PackPlacement.DefaultRegion, PageStoreLimits.MinCacheBytes);

    private string Refusal(string address) => Assert.Throws<ImageException>(() => Place(address)).Message;
}
