using System.Diagnostics;
using System.Text;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Linux.Tests;

// Alone, because one test looks at the children of this process and others start some.
[CollectionDefinition("alone", DisableParallelization = true)]
[Collection("alone")]
public sealed class KernelFeaturesTests
{
    [Fact]
    public void Says_of_each_feature_whether_it_is_there_and_what_was_seen()
    {
        var features = KernelFeatures.Probe();
        Assert.All(features.All, feature => Assert.False(string.IsNullOrWhiteSpace(feature.Name) || string.IsNullOrWhiteSpace(feature.Detail)));
        Assert.Equal(features.All.Count, features.All.Select(feature => feature.Name).Distinct().Count());
        Assert.Equal(File.ReadAllText("/proc/sys/kernel/osrelease").Trim(), features.Release);
        Assert.Equal((ProcStatus.Read(Environment.ProcessId).CapEffective >> 21 & 1) != 0, features.Privilege(Capability.SystemAdministration).Available);
    }

    [Fact]
    public void What_the_engine_cannot_do_without_is_here()
    {
        var features = KernelFeatures.Probe();
        Assert.True(features.PagemapScan.Available, features.PagemapScan.Detail);
        Assert.True(features.SetTid.Available, features.SetTid.Detail);
        Assert.All(features.SockDiag, family => Assert.True(family.Available, family.ToString()));
    }

    [Fact]
    public void Asking_leaves_no_process_behind()
    {
        KernelFeatures.Probe();
        var children = Directory.EnumerateDirectories("/proc/self/task").SelectMany(task => ProcFile.TryRead($"{task}/children", out var text) == Errno.None ? Encoding.ASCII.GetString(text).Split(' ', StringSplitOptions.RemoveEmptyEntries) : []); // A thread may have ended meanwhile.
        Assert.DoesNotContain(children, child => ProcStat.Read(int.Parse(child, System.Globalization.CultureInfo.InvariantCulture)).Name == Process.GetCurrentProcess().ProcessName);
    }

    [Fact]
    public void Limits_of_the_host_have_numbers()
    {
        var limits = HostLimits.Read().ToDictionary(limit => limit.Name);
        Assert.True(limits["kernel.pid_max"].Value > 1000);
        Assert.True(limits["MemTotal"].Value >= limits["MemAvailable"].Value);
        Assert.True(limits["RLIMIT_NOFILE"].Value > 0);
        Assert.Equal(15, limits.Count);
    }
}
