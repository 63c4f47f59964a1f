using System.Diagnostics;
using Snapshots.Images;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests.Remote;

/// <summary>An object store that misbehaves: what can be repaired by asking again is, the rest is told in our words and in bounded time, and nothing half done is seen.</summary>
public sealed class FailureTests : IDisposable
{
    private static readonly byte[] Memory = TestImages.Memory(1, 100);
    private readonly FakeStore _store = new();
    private readonly Stopwatch _clock = Stopwatch.StartNew();

    public void Dispose()
    {
        _store.Dispose();
        Assert.True(_clock.Elapsed < TimeSpan.FromSeconds(60), $"took {_clock.Elapsed}");
    }

    [Fact]
    public void A_server_that_is_busy_for_a_moment_is_asked_again()
    {
        Once(request => request is { Method: "PUT" } && request.Key.Contains("/packs/", StringComparison.Ordinal), new Fault { Status = 503, Code = "SlowDown" });
        _store.Create("a", Memory);
        Once(FakeStore.ReadsPack, new Fault { Status = 500 });
        Assert.Equal(Memory, _store.Read("a"));
    }

    [Fact]
    public void A_server_that_stays_busy_is_told_with_its_status_and_proves_nothing()
    {
        _store.Create("a", Memory);
        Always(FakeStore.ReadsPack, new Fault { Status = 503, Code = "SlowDown" });
        var failure = Assert.Throws<ImageException>(() => _store.Read("a"));
        Assert.Equal(ImageFailure.Truncated, failure.Failure);
        Assert.Contains("s3://farm/one/domains/default/packs/", failure.Message, StringComparison.Ordinal);
        Assert.Contains("HTTP 503 SlowDown", failure.Message, StringComparison.Ordinal);
        AssertFsckKeepsAll(_store);
    }

    [Fact]
    public void An_answer_that_is_cut_off_is_gone_on_with_where_it_ended()
    {
        _store.Create("a", Memory);
        var received = _store.Statistics.ReceivedBytes;
        Once(FakeStore.ReadsPack, new Fault { CutAfter = 1000 });
        Assert.Equal(Memory, _store.Read("a"));
        Assert.Equal(1, _store.Statistics.ResumedAnswers);
        Assert.InRange(_store.Statistics.ReceivedBytes - received, 1, _store.Server.Objects[_store.Packs[0]].Length + 4096);
    }

    [Theory]
    [InlineData("cut")]
    [InlineData("hangup")]
    [InlineData("silence")]
    public void Answers_that_never_come_or_never_end_are_given_up(string how)
    {
        // Each of its waits is to the end.
        using var store = new FakeStore(FakeStore.Quick with { Attempt = TimeSpan.FromMilliseconds(400), Stall = TimeSpan.FromMilliseconds(400) });
        store.Create("a", Memory);
        var fault = how == "cut" ? new Fault { CutAfter = 10 } : new Fault { Hangup = how == "hangup", Silence = how == "silence" };
        store.Server.Faults = request => FakeStore.ReadsPack(request) ? fault : null;
        var failure = Assert.Throws<ImageException>(() => store.Read("a"));
        Assert.Equal(ImageFailure.Truncated, failure.Failure);
        Assert.Contains(store.Server.Endpoint, failure.Message, StringComparison.Ordinal);
        AssertFsckKeepsAll(store);
    }

    [Theory]
    [InlineData("bytes 0-99/100000")]
    [InlineData("bytes 7-99/100000")]
    public void Another_range_than_was_asked_for_is_refused(string range)
    {
        _store.Create("a", Memory);
        Always(FakeStore.ReadsPack, new Fault { ContentRange = range });
        Assert.Equal(ImageFailure.Truncated, Failure(() => _store.Read("a")));
    }

    [Fact]
    public void An_object_that_is_shorter_than_its_header_says_is_damaged()
    {
        _store.Create("a", Memory);
        var key = _store.Packs[0];
        _store.Server.Objects[key] = _store.Server.Objects[key][..^100];
        Assert.Equal(ImageFailure.Truncated, Failure(() => _store.Read("a")));
        Assert.All(StoreCheck.Run(_store.Store, repair: false).Problems, problem => Assert.True(problem.Proven, problem.What));
    }

    [Fact]
    public void What_may_not_be_read_is_told_with_the_cure_and_proves_nothing()
    {
        _store.Create("a", Memory);
        Always(request => request.Key.Contains("/packs/", StringComparison.Ordinal), new Fault { Status = 403, Code = "AccessDenied" });
        var failure = Assert.Throws<ImageException>(() => _store.Read("a"));
        Assert.Equal(ImageFailure.NotFound, failure.Failure);
        Assert.Contains("HTTP 403 AccessDenied", failure.Message, StringComparison.Ordinal);
        Assert.Contains("AWS_ACCESS_KEY_ID", failure.Message, StringComparison.Ordinal);
        AssertFsckKeepsAll(_store);
    }

    [Fact]
    public void A_pack_that_is_gone_is_named_before_and_while_it_is_read()
    {
        _store.Create("a", Memory);
        using var image = _store.Store.Images.OpenImage("a");
        var key = _store.Packs[0];
        Assert.True(_store.Server.Objects.TryRemove(key, out var pack));
        _store.DropCache();
        Assert.Equal(ImageFailure.Truncated, Failure(() => image.Pages.Read(0, new byte[4096])));
        var failure = Assert.Throws<ImageException>(() => _store.Read("a"));
        Assert.Equal(ImageFailure.NotFound, failure.Failure);
        Assert.Contains(key[..^2], failure.Message, StringComparison.Ordinal);
        _store.Server.Objects[key] = pack!;
        Assert.Equal(Memory, _store.Read("a"));
    }

    [Fact]
    public void An_object_that_is_replaced_while_it_is_open_is_not_mixed_with_the_other()
    {
        _store.Create("a", Memory);
        using var image = _store.Store.Images.OpenImage("a");
        var key = _store.Packs[0];
        _store.Server.Objects[key] = [.. _store.Server.Objects[key], 0];
        _store.DropCache();
        var failure = Assert.Throws<ImageException>(() => image.Pages.Read(0, new byte[4096]));
        Assert.Equal(ImageFailure.Truncated, failure.Failure);
        Assert.Contains("HTTP 412", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_bucket_that_is_not_there_does_not_look_like_a_store_that_lost_all()
    {
        _store.Create("a", Memory);
        Always(_ => true, new Fault { Status = 404, Code = "NoSuchBucket" });
        Assert.Contains("NoSuchBucket", Assert.Throws<ImageException>(() => _store.Read("a")).Message, StringComparison.Ordinal);
        Assert.Throws<ImageException>(() => StoreCheck.Run(_store.Store, repair: true));
        _store.Server.Faults = _ => null;
        Assert.Equal(Memory, _store.Read("a"));
    }

    [Fact]
    public void A_server_that_is_not_this_stores_judges_nothing_and_loses_nothing()
    {
        _store.Create("a", Memory);
        _store.Create("b", TestImages.Memory(2, 100));
        _store.Server.Objects["one/owner"] = "0123456789abcdef0123456789abcdef\n"u8.ToArray();
        Assert.Contains("names another store", Assert.Throws<ImageException>(() => StoreCheck.Run(_store.Store, repair: true)).Message, StringComparison.Ordinal);
        // The name goes, files stay, and the next collection finds them.
        Assert.Contains("names another store", _store.Store.Images.Remove("b").KeptBecause, StringComparison.Ordinal);
        Assert.Equal(2, _store.Packs.Length);
        _store.Server.Objects.TryRemove("one/owner", out _);
        Assert.Contains("is missing", GarbageCollection.Run(_store.Store).KeptBecause, StringComparison.Ordinal);
        Assert.Equal(2, _store.Packs.Length);
        Assert.Equal(Memory, _store.Read("a"));
    }

    [Fact]
    public void A_server_that_refuses_what_is_stored_leaves_nothing_that_can_be_seen()
    {
        _store.Create("kept", TestImages.Memory(2, 50));
        foreach (var folder in new[] { "/packs/", "/maps/" })
        {
            Always(request => request.Method == "PUT" && request.Key.Contains(folder, StringComparison.Ordinal), new Fault { Status = 403, Code = "AccessDenied" });
            var failure = Assert.Throws<ImageException>(() => _store.Create("a", Memory));
            Assert.Equal(ImageFailure.WriteFailed, failure.Failure);
            Assert.Contains("HTTP 403", failure.Message, StringComparison.Ordinal);
            _store.Server.Faults = _ => null;
            // The next who opens the store takes away what had been stored already.
            var opened = _store.Open();
            Assert.Equal("kept", Assert.Single(opened.Images.List()).Name);
            Assert.Single(_store.Packs);
            Assert.Empty(Directory.GetFiles(Path.Combine(_store.Root, "domains", "default", "incoming")));
        }
        _store.Create("a", Memory);
        Assert.Equal(Memory, _store.Read("a"));
    }

    [Fact]
    public void A_long_upload_that_fails_is_aborted_at_the_server()
    {
        Always(request => request.Query.ContainsKey("partNumber") && request.Query["partNumber"] == "2", new Fault { Hangup = true });
        var failure = Assert.Throws<ImageException>(() => _store.Create("a", Incompressible()));
        Assert.Equal(ImageFailure.WriteFailed, failure.Failure);
        Assert.Equal(0, _store.Server.OpenUploads);
        Assert.Empty(_store.Packs);
        _store.Server.Faults = _ => null;
        _store.Create("a", Incompressible());
        Assert.Equal(0, _store.Server.OpenUploads);
        Assert.Contains(_store.Server.Requests, request => request.Method == "POST" && request.Headers.ContainsKey("If-None-Match"));
        Assert.Equal(Incompressible(), _store.Read("a"));
    }

    [Fact]
    public void A_server_without_conditional_puts_is_asked_without()
    {
        _store.Server.Faults = request => request.Headers.ContainsKey("If-None-Match") ? new Fault { Status = 501, Code = "NotImplemented" } : null;
        _store.Create("a", Memory);
        Assert.Equal(Memory, _store.Read("a"));
    }

    [Fact]
    public void A_key_that_is_taken_between_question_and_put_is_left_as_it_is()
    {
        // The head says that the key is free, and then it is not.
        var other = new byte[10];
        _store.Server.Faults = request =>
        {
            if (request.Method == "PUT" && request.Key.Contains("/packs/", StringComparison.Ordinal))
                _store.Server.Objects.TryAdd(request.Key, other);
            return null;
        };
        _store.Create("a", Memory);
        Assert.Same(other, _store.Server.Objects[Assert.Single(_store.Packs)]);
    }

    [Fact]
    public void Damage_on_the_way_is_found_and_fetched_again_past_the_cache()
    {
        _store.Create("a", Memory);
        // What came damaged is in the cache with a checksum of its own: those of frame table and frames tell.
        for (var spoilt = 0; spoilt < 2; spoilt++)
        {
            _store.DropCache();
            var request = -1;
            _store.Server.Faults = asked => FakeStore.ReadsPack(asked) && Interlocked.Increment(ref request) == spoilt ? new Fault { Spoil = body => body.AsSpan().Reverse() } : null;
            Assert.Equal(Memory, _store.Read("a"));
            Assert.True(request > spoilt);
            Assert.Equal(Memory, _store.Read("a"));
        }
        Assert.Equal(0, _store.Statistics.DamagedBlocks);
        _store.DropCache();
        Always(FakeStore.ReadsPack, new Fault { Spoil = body => body.AsSpan().Reverse() });
        Assert.Equal(ImageFailure.DigestMismatch, Failure(() => _store.Read("a")));
    }

    [Fact]
    public void Where_nobody_listens_the_endpoint_is_named()
    {
        _store.Create("a", Memory);
        _store.Server.Stop();
        var failure = Assert.Throws<ImageException>(() => _store.Read("a"));
        Assert.Contains(_store.Server.Endpoint, failure.Message, StringComparison.Ordinal);
        Assert.NotNull(Assert.Single(_store.Store.Images.List()).Problem);
    }

    // Neither a network nor rights prove that something is broken.
    private static void AssertFsckKeepsAll(FakeStore store)
    {
        var report = StoreCheck.Run(store.Store, repair: true);
        Assert.NotEmpty(report.Problems);
        Assert.All(report.Problems, problem => Assert.False(problem.Proven || problem.Repaired, problem.What));
        store.Server.Faults = _ => null;
        Assert.Equal(Memory, store.Read("a"));
    }

    private void Always(Func<FakeRequest, bool> where, Fault fault) => _store.Server.Faults = request => where(request) ? fault : null;

    private void Once(Func<FakeRequest, bool> where, Fault fault)
    {
        var left = 1;
        _store.Server.Faults = request => where(request) && Interlocked.Exchange(ref left, 0) == 1 ? fault : null;
    }

    private static byte[] Incompressible() => TestImages.Pages(Enumerable.Range(0, 9000).Select(i => 1 + (2 * i)));

    private static ImageFailure Failure(Action action) => Assert.Throws<ImageException>(action).Failure;
}
