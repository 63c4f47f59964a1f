using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.RestorePool.Tests.Descriptors;

public sealed class DescriptorCompilerTests
{
    /// <summary>Keeping the arrival numbers of so many externals, giving them up, and the arrival.</summary>
    private static int CallsForArrivalOf(int externals) => externals + 2;

    [Fact]
    public void OrdinaryTableCostsOneCallPerFile()
    {
        var image = new TestImage();
        image.External(0);
        image.External(1);
        image.External(2);
        image.External(3);
        image.EventFd(7, 4);
        image.Regular("/a", 5);
        image.Regular("/b", 6);
        var kernel = image.Run();
        Assert.Equal(3 + CallsForArrivalOf(4), kernel.Calls);
        Assert.Equal(0, kernel.CallsAfterArrival);
    }

    [Fact]
    public void ExternalsMoveUpWithoutClobberingEachOther()
    {
        var image = new TestImage();
        var first = image.External(1, 9);
        var second = image.External(2);
        var third = image.External(3);
        var kernel = image.Run();
        Assert.Equal($"external {first.Id}", kernel.Table[1].Description.Kind);
        Assert.Same(kernel.Table[1].Description, kernel.Table[9].Description);
        Assert.Equal($"external {second.Id}", kernel.Table[2].Description.Kind);
        Assert.Equal($"external {third.Id}", kernel.Table[3].Description.Kind);
        Assert.False(kernel.Table.ContainsKey(0));
        // Three moves, one duplicate, one close: moving the first slot first would have to save the others.
        Assert.Equal(5, kernel.CallsAfterArrival);
    }

    [Fact]
    public void SecondOpenFileOfAReceivedPipeIsOpenedFromTheFirst()
    {
        var image = new TestImage();
        var first = image.External(1);
        var second = image.External(4);
        second.External.Role = first.External.Role;
        second.StatusFlags = 1;
        var kernel = image.Run();
        Assert.Equal($"external {first.Id}", kernel.Table[4].Description.Kind);
        Assert.NotSame(kernel.Table[1].Description, kernel.Table[4].Description);
    }

    /// <summary>A parked clone holds nothing whose time runs, and nothing that may be replaced under it.</summary>
    [Fact]
    public void FilesThatAreWrittenToAreOpenedAtTheLastMoment()
    {
        var image = new TestImage();
        image.External(0);
        image.Regular("/read", 1);
        image.Regular("/written", 2).StatusFlags = 2;
        image.Regular("/appended", 3).StatusFlags = 0x401;
        Assert.Equal(2, image.Run().CallsAfterArrival);
    }

    [Fact]
    public void GapIsFilledOnceForAllFilesBehindIt()
    {
        var image = new TestImage();
        image.External(0);
        for (var number = 2; number < 10; number++)
            image.EventFd((ulong)number, number);
        // Eight creations, one dup3 over the gap and one close at the end.
        Assert.Equal(10 + CallsForArrivalOf(1), image.Run().Calls);
    }

    [Fact]
    public void PipeWhoseWriterHasTheLowerNumberIsSwapped()
    {
        var image = new TestImage();
        var pipe = image.Pipe("queued");
        image.PipeEnd(pipe, write: true, 0);
        image.PipeEnd(pipe, write: false, 1);
        var kernel = image.Run();
        Assert.Equal("pipe write", kernel.Table[0].Description.Kind);
        Assert.Equal("pipe read", kernel.Table[1].Description.Kind);
        Assert.Equal("queued"u8.ToArray(), kernel.Table[1].Description.Received.ToArray());
    }

    [Fact]
    public void HalfOpenPipeKeepsItsContents()
    {
        var image = new TestImage();
        image.PipeEnd(image.Pipe("last words"), write: false, 0);
        var kernel = image.Run();
        Assert.Equal("last words"u8.ToArray(), kernel.Table[0].Description.Received.ToArray());
        Assert.DoesNotContain(kernel.Table.Values, slot => slot.Description.Kind == "pipe write");
    }

    [Fact]
    public void InterestUnderAClosedNumberIsRegisteredThereAndClosedAgain()
    {
        var image = new TestImage();
        var epoll = image.Epoll(0);
        var counter = image.EventFd(3, 1);
        TestImage.Watch(epoll, counter, 6);
        var kernel = image.Run();
        var interest = Assert.Single(kernel.Table[0].Description.Interests);
        Assert.Equal(6, interest.Fd);
        Assert.Same(kernel.Table[1].Description, interest.Watched);
        Assert.Equal([0, 1, 7], kernel.Table.Keys);
    }

    [Fact]
    public void InterestUnderANumberThatNowBelongsToAnotherFile()
    {
        var image = new TestImage();
        var epoll = image.Epoll(0);
        var counter = image.EventFd(3, 1);
        image.EventFd(4, 2);
        TestImage.Watch(epoll, counter, 2);
        TestImage.Watch(epoll, counter, 0);
        var kernel = image.Run();
        Assert.Equal([2, 0], kernel.Table[0].Description.Interests.Select(interest => interest.Fd));
        Assert.Equal("eventfd 4", kernel.Table[2].Description.Kind);
        Assert.Equal("epoll", kernel.Table[0].Description.Kind);
    }

    [Fact]
    public void NestedEpollAndCloseOnExec()
    {
        var image = new TestImage();
        var outer = image.Epoll(0);
        var inner = image.Epoll(1, 5);
        image.Process.Descriptors.Single(entry => entry.Fd == 5).CloseOnExec = true;
        image.Process.Descriptors.Single(entry => entry.Fd == 0).CloseOnExec = true;
        TestImage.Watch(outer, inner, 1);
        var kernel = image.Run();
        Assert.Same(kernel.Table[1].Description, Assert.Single(kernel.Table[0].Description.Interests).Watched);
        Assert.Equal([0, 5], kernel.Table.Where(slot => slot.Value.CloseOnExec && slot.Key < 6).Select(slot => slot.Key));
    }

    [Fact]
    public void MemoryObjectReopenedReadOnlyGetsItsOwnDescription()
    {
        var image = new TestImage();
        image.Manifest.SharedMemory.Add(new SharedMemory { Id = 1, Name = "jit", SizeBytes = 4096 });
        image.Add(new OpenFile { StatusFlags = 0, MemFd = new MemFd { SharedMemory = 1, OffsetBytes = 5 } }, 0);
        image.Add(new OpenFile { StatusFlags = 2, MemFd = new MemFd { SharedMemory = 1 } }, 3);
        var kernel = image.Run();
        Assert.Equal("memfd jit", kernel.Table[0].Description.Kind);
        Assert.Equal("memfd jit", kernel.Table[3].Description.Kind);
        Assert.NotSame(kernel.Table[0].Description, kernel.Table[3].Description);
        Assert.Equal([0, 3, 4], kernel.Table.Keys);
    }

    [Fact]
    public void FlagsOfReceivedExternalsAreApplied()
    {
        var image = new TestImage();
        image.External(0).StatusFlags = 0x802;
        Assert.Equal(0x800u, image.Run().Table[0].Description.StatusFlags);
    }

    [Fact]
    public void DescriptorAtTheControlNumberIsRefused()
    {
        var image = new TestImage();
        image.EventFd(1, 4);
        Assert.Throws<InvalidDataException>(() => image.Run(controlDescriptor: 4));
    }

    [Fact]
    public void DescriptorOfAFileThatIsNotThereIsRefused()
    {
        var image = new TestImage();
        image.Process.Descriptors.Add(new DescriptorEntry { Fd = 0, OpenFile = 77 });
        var error = Assert.Throws<InvalidDataException>(() => image.Run());
        Assert.Contains("77", error.Message, StringComparison.Ordinal);
    }
}
