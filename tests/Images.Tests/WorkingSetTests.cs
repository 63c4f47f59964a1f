using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.Images.Tests;

public sealed class WorkingSetTests : IDisposable
{
    private readonly TestStore _store = new();

    public void Dispose() => _store.Dispose();

    private static WorkingSet Example => new()
    {
        Written = { new PageRange { Start = 0x7000_0000_0000, PageCount = 3 }, new PageRange { Start = 0x7000_0001_0000, PageCount = 1 } },
        FilePages = { new PageRange { Start = 0x5000_0000_0000, PageCount = 16 } },
        Clones = 3,
    };

    [Fact]
    public void What_was_saved_is_read_again_and_goes_with_its_image()
    {
        var digest = _store.Create("worker", new byte[4096]);
        Assert.Null(_store.Store.TryReadWorkingSet(digest));
        _store.Store.SaveWorkingSet(digest, Example);
        Assert.Equal(Example, _store.Open().TryReadWorkingSet(digest));
        _store.Store.SaveWorkingSet(digest, new WorkingSet { Clones = 4 });
        Assert.Equal(4u, _store.Store.TryReadWorkingSet(digest)!.Clones);

        Assert.Equal(3, _store.Store.Remove("worker").RemovedFiles);
        Assert.Null(_store.Store.TryReadWorkingSet(digest));
    }

    [Fact]
    public void Of_an_image_that_is_gone_nothing_is_kept()
    {
        var digest = _store.Create("worker", new byte[4096]);
        _store.Store.Remove("worker");
        _store.Store.SaveWorkingSet(digest, Example);
        Assert.Null(_store.Store.TryReadWorkingSet(digest));
        Assert.Empty(Directory.GetFiles(_store.Incoming));
    }

    /// <summary>The image itself stays as good as it was.</summary>
    [Fact]
    public void Every_flipped_bit_and_every_cut_is_found()
    {
        var digest = _store.Create("worker", new byte[4096]);
        _store.Store.SaveWorkingSet(digest, Example);
        var path = Path.Combine(_store.Root, "working-sets", digest.Hex);
        var whole = File.ReadAllBytes(path);
        for (var i = 0; i < whole.Length; i++)
        {
            var damaged = (byte[])whole.Clone();
            damaged[i] ^= (byte)(1 << (i % 8));
            File.WriteAllBytes(path, damaged);
            Assert.Equal(ImageFailure.DigestMismatch, Assert.Throws<ImageException>(() => _store.Store.TryReadWorkingSet(digest)).Failure);
            File.WriteAllBytes(path, whole[..i]);
            Assert.Equal(ImageFailure.DigestMismatch, Assert.Throws<ImageException>(() => _store.Store.TryReadWorkingSet(digest)).Failure);
        }
        _store.Store.OpenImage("worker").Dispose();
    }

    public static TheoryData<ulong, ulong> ImpossibleRanges => new()
    {
        { 1, 1 }, { 0x1000, 0 }, { 0x7fff_ffff_f000, 2 }, { ulong.MaxValue - 0xfff, 1 }, { 0x1000, ulong.MaxValue },
    };

    [Theory]
    [MemberData(nameof(ImpossibleRanges))]
    public void Ranges_that_no_process_can_have_are_refused(ulong start, ulong pageCount)
    {
        var digest = _store.Create("worker", new byte[4096]);
        var set = new WorkingSet { Written = { new PageRange { Start = start, PageCount = pageCount } } };
        Assert.Equal(ImageFailure.Malformed, Assert.Throws<ImageException>(() => _store.Store.SaveWorkingSet(digest, set)).Failure);
    }
}
