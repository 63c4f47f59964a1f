using Snapshots.AddressSpace;
using Snapshots.Programs;
using Xunit;

namespace Snapshots.RestorePool.Tests.ForkDetection;

public sealed class MachineCodeTests
{
    [Theory]
    [InlineData("e90b7ff8fe 662e0f1f840000000000 90", 5, true)] // jmp getpid@plt, then padding
    [InlineData("e90b7ff8fe cccccccccccccccccccccc", 5, true)]
    [InlineData("f30f1efa e90b7ff8fe 0f1f8000000000", 9, true)] // endbr64 first
    [InlineData("f30f1efa 554889e5 e80b7ff8fe 5dc3", 15, true)] // a call that returns behind the change
    [InlineData("554889e5 e80b7ff8fe 5dc3 6690", 11, false)] // a call that would return into it
    [InlineData("4883ec08 ff150b7ff800 4883c408 c3", 15, false)]
    [InlineData("e90b7ff8fe 8b07c3 0f1f4000 6690", 5, false)] // another function right behind
    [InlineData("e90b7ff8fe 9090", 5, false)] // the end of the file
    [InlineData("e90b7ff8fe 662e0f1f840000000000 90", 0, false)] // of unknown length
    [InlineData("0606060606060606060606060606", 14, false)] // no code at all
    public void A_replacement_needs_room(string code, int functionBytes, bool fits) =>
        Assert.Equal(fits, FunctionReplacement.Fits(Convert.FromHexString(code.Replace(" ", "", StringComparison.Ordinal)), functionBytes));

    [Fact]
    public void A_replacement_is_known_again()
    {
        var code = FunctionReplacement.Encode(new VirtualAddress(0x1122_3344_5566));
        Assert.Equal("48B8665544332211" + "0000FFE0", Convert.ToHexString(code));
        Assert.Equal(FunctionReplacement.SizeBytes, code.Length);
        Assert.True(FunctionReplacement.StandsAt(code));
        Assert.False(FunctionReplacement.StandsAt(code.AsSpan(1)));
        Assert.False(FunctionReplacement.StandsAt(new byte[12]));
    }

    [Fact]
    public void The_function_asks_the_kernel_and_turns_the_answer()
    {
        var page = ForkIdentityFunction.Build(0x1234_5678);
        // endbr64; mov eax, 39; syscall; xor eax, key; ret
        Assert.Equal("F30F1EFA" + "B827000000" + "0F05" + "3578563412" + "C3", Convert.ToHexString(page.AsSpan((int)ForkIdentityFunction.EntryOffset)));
        Assert.Throws<ArgumentOutOfRangeException>(() => ForkIdentityFunction.Build(0));
    }
}
