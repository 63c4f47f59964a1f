using System.Text;
using CsCheck;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Linux.Tests.Proc;

public class TimeNamespaceOffsetsTests
{
    [Fact]
    public void Reads_what_the_kernel_prints()
    {
        Assert.True(TimeNamespaceOffsets.TryParse("monotonic        1000         0\nboottime           -5 700000000\n"u8, out var offsets));
        Assert.Equal(new TimeNamespaceOffsets(1_000_000_000_000, -4_300_000_000), offsets);
    }

    [Theory]
    [InlineData("")]
    [InlineData("monotonic 1 0\n")]
    [InlineData("monotonic x 0\nboottime 1 0\n")]
    [InlineData("monotonic 1 1000000000\nboottime 1 0\n")]
    [InlineData("monotonic 99999999999999999999 0\nboottime 1 0\n")]
    public void Refuses_what_it_does_not_print(string text) =>
        Assert.False(TimeNamespaceOffsets.TryParse(Encoding.ASCII.GetBytes(text), out _));

    /// <summary>The nanoseconds are never negative, also when the offset is.</summary>
    [Fact]
    public void Says_what_it_reads() =>
        Gen.Select(Gen.Long[-4_000_000_000_000_000_000, 4_000_000_000_000_000_000], Gen.Long[-4_000_000_000_000_000_000, 4_000_000_000_000_000_000]).Sample((monotonic, boottime) =>
        {
            var offsets = new TimeNamespaceOffsets(monotonic, boottime);
            return TimeNamespaceOffsets.TryParse(Encoding.ASCII.GetBytes(offsets.ToString()), out var read) && read == offsets;
        });

    [Fact]
    public void Our_own_can_be_read() => Assert.Equal(TimeNamespaceOffsets.Own, TimeNamespaceOffsets.Of(Environment.ProcessId));
}
