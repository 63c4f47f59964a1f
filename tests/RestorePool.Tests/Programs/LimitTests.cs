using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;
using Xunit;

namespace Snapshots.RestorePool.Tests.Programs;

/// <summary>Where resource limits are set: a clone pays for those that it cannot inherit, and for no other.</summary>
public sealed class LimitTests
{
    [Fact]
    public void Limits_of_a_worker_that_the_farm_launched_cost_a_clone_nothing()
    {
        var programs = Compile(Enum.GetValues<ResourceKind>().Select(kind => (kind, Prlimit.Get(0, kind))));
        Assert.Empty(LimitsOf(programs.Clone));
        Assert.Equal(Enum.GetValues<ResourceKind>().Length, LimitsOf(programs.Memory).Count);
    }

    [Fact]
    public void A_limit_that_would_bind_the_template_waits_for_the_end_of_the_clone_program()
    {
        var own = Prlimit.Get(0, ResourceKind.OpenFiles);
        var programs = Compile([(ResourceKind.OpenFiles, new ResourceLimits(1, 2)), (ResourceKind.Cpu, new ResourceLimits(1, 1))]);

        Assert.Equal(["RLIMIT_NOFILE (1, 2)", "RLIMIT_CPU (1, 1)"], LimitsOf(programs.Clone));
        var last = programs.Clone.Entries.ToList().FindLastIndex(entry => entry.Subject == "RLIMIT_CPU (1, 1)");
        Assert.Equal("time of Running", programs.Clone.Entries[last + 1].Subject);
        Assert.Contains($"RLIMIT_NOFILE ({own.Soft}, {own.Hard})", LimitsOf(programs.Memory));
        Assert.DoesNotContain("RLIMIT_CPU (1, 1)", LimitsOf(programs.Memory));
    }

    [Fact]
    public void A_limit_that_binds_none_of_our_work_is_inherited()
    {
        var programs = Compile([(ResourceKind.Core, new ResourceLimits(0, 0))]);
        Assert.Empty(LimitsOf(programs.Clone));
        Assert.Equal(["RLIMIT_CORE (0, 0)"], LimitsOf(programs.Memory));
    }

    [Fact]
    public void A_hard_limit_above_the_farms_is_refused_by_name_unless_we_may_raise_it()
    {
        var own = Prlimit.Get(0, ResourceKind.OpenFiles); // finite on every kernel: fs.nr_open lies above it
        (ResourceKind, ResourceLimits)[] higher = [(ResourceKind.OpenFiles, new ResourceLimits(own.Soft, own.Hard + 1))];
        if (Capabilities.Has(Capability.SystemResource))
        {
            Assert.Contains($"RLIMIT_NOFILE ({own.Soft}, {own.Hard + 1})", LimitsOf(Compile(higher).Memory));
            return;
        }
        var refusal = Assert.Throws<RestoreUnsupportedException>(() => Compile(higher));
        Assert.Contains("RLIMIT_NOFILE", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("CAP_SYS_RESOURCE", refusal.Message, StringComparison.Ordinal);
    }

    private static CompiledPrograms Compile(IEnumerable<(ResourceKind Kind, ResourceLimits Limits)> limits)
    {
        var manifest = SmallImage.Create();
        manifest.Processes[0].Limits.AddRange(limits.Select(pair => new ResourceLimit { Resource = (uint)pair.Kind, Soft = pair.Limits.Soft, Hard = pair.Limits.Hard }));
        return CompiledPrograms.Compile(manifest, ForkDetectionPlan.For(manifest));
    }

    private static List<string> LimitsOf(RestoreProgram program) =>
        [.. program.Entries.Where(entry => entry.IsSyscall && entry.Operation == (uint)SyscallNumber.Prlimit64).Select(entry => entry.Subject)];
}
