using Snapshots.Linux;
using Snapshots.Linux.Layouts;
using Xunit;

namespace Snapshots.Tracing.Tests;

public sealed class RestartRulesTests
{
    private const ulong Futex = 202;

    [Theory]
    [InlineData(Errno.ERESTARTSYS)]
    [InlineData(Errno.ERESTARTNOHAND)]
    [InlineData(Errno.ERESTARTNOINTR)]
    public void A_call_to_be_repeated_is_rewound(Errno error)
    {
        var applied = RestartRules.Apply(Interrupted(error));
        Assert.Equal(0x1000UL - 2, applied.Rip);
        Assert.Equal(Futex, applied.Rax);
        Assert.Equal(ulong.MaxValue, applied.OrigRax);
    }

    [Fact]
    public void A_call_with_a_restart_block_returns_EINTR()
    {
        var applied = RestartRules.Apply(Interrupted(Errno.ERESTART_RESTARTBLOCK));
        Assert.Equal(0x1000UL, applied.Rip);
        Assert.Equal(-(long)Errno.EINTR, (long)applied.Rax);
        Assert.Equal(ulong.MaxValue, applied.OrigRax);
    }

    [Fact]
    public void A_call_that_is_done_keeps_its_result()
    {
        var applied = RestartRules.Apply(Interrupted(Errno.EAGAIN));
        Assert.Equal(0x1000UL, applied.Rip);
        Assert.Equal(-(long)Errno.EAGAIN, (long)applied.Rax);
        Assert.Equal(ulong.MaxValue, applied.OrigRax);
    }

    [Fact]
    public void Code_outside_system_calls_may_hold_any_value_in_rax()
    {
        var running = Interrupted(Errno.ERESTARTSYS);
        running.OrigRax = ulong.MaxValue;
        Assert.Equal(running, RestartRules.Apply(running));
    }

    [Fact]
    public void Registers_survive_the_way_through_bytes()
    {
        var registers = Interrupted(Errno.ERESTARTSYS);
        Assert.Equal(216, registers.ToBytes().Length);
        Assert.Equal(registers, UserRegisters.FromBytes(registers.ToBytes()));
    }

    private static UserRegisters Interrupted(Errno error) => new() { OrigRax = Futex, Rax = unchecked((ulong)-(long)error), Rip = 0x1000, Cs = 0x33 };
}
