using Snapshots.RestorePool.Programs;
using Xunit;

namespace Snapshots.RestorePool.Tests.Descriptors;

public sealed class DescriptorTableSimulatorTests
{
    [Fact]
    public void OpensAtTheLowestFreeNumber()
    {
        var table = new DescriptorTableSimulator();
        table.Preset(0, 10, closeOnExec: false);
        table.Preset(2, 11, closeOnExec: false);
        Assert.Equal(1, table.Open(12, closeOnExec: true));
        Assert.Equal(3, table.Open(13, closeOnExec: false));
        table.Close(0);
        Assert.Equal(0, table.LowestFree);
        Assert.True(table.IsCloseOnExec(1));
        Assert.Equal([1, 2, 3], table.OpenNumbers);
    }

    [Fact]
    public void DuplicateReplacesAndKeepsTheSource()
    {
        var table = new DescriptorTableSimulator();
        table.Preset(0, 10, closeOnExec: true);
        table.Preset(5, 11, closeOnExec: false);
        table.Duplicate(0, 5, closeOnExec: false);
        Assert.Equal([0, 5], table.NumbersOf(10));
        Assert.Empty(table.NumbersOf(11));
        Assert.True(table.IsCloseOnExec(0));
        Assert.False(table.IsCloseOnExec(5));
    }

    [Fact]
    public void ClosingWhatIsNotOpenIsAnError() =>
        Assert.Throws<InvalidOperationException>(() => new DescriptorTableSimulator().Close(3));
}
