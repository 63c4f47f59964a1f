using System.Diagnostics;
using System.Globalization;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Tracing.Tests;

public sealed class KilledTracerTests
{
    [Fact]
    public void The_target_runs_on_when_its_tracer_is_killed_in_the_middle_of_system_calls()
    {
        using var target = SelfCheckingProgram.Start();
        SelfCheckingProgram.AskAfterMoreSpins(target);
        for (var round = 0; round < 8; round++)
        {
            using var tracer = Process.Start(new ProcessStartInfo("dotnet", [HostPath(), target.Pid.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardOutput = true })!;
            Assert.Equal("inside", tracer.StandardOutput.ReadLine());
            // Anywhere in its loop.
            Thread.SpinWait(Random.Shared.Next(2_000_000));
            tracer.Kill();
            tracer.WaitForExit();

            var (wrong, _, _) = SelfCheckingProgram.AskAfterMoreSpins(target);
            Assert.Equal(0, wrong);
            Assert.Equal(0, ProcStatus.Read(target.Pid).TracerPid);
            Assert.Equal(5, ProcStatus.Read(target.Pid).ThreadCount);
        }
    }

    /// <summary>The host is built beside us: same configuration, same framework.</summary>
    private static string HostPath() =>
        Path.Combine(AppContext.BaseDirectory.Replace("Tracing.Tests", "TracerHost", StringComparison.Ordinal), "Snapshots.TracerHost.dll");
}
