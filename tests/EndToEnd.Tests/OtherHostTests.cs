using System.Text.Json;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>Images of other hosts: what this one lacks is named, before anything is started.</summary>
public class OtherHostTests
{
    private const int IncompatibleHost = 6;

    [Fact]
    public void An_image_that_needs_other_processor_features_is_refused_with_their_names()
    {
        using var farm = new Farm();
        farm.Create("shell", Workers.Example("shell"));
        StoredImage.Rewrite(farm, "shell", manifest => manifest.Host.CpuFlags.Add(["avx8192", "time_travel"]));
        AssertRefused(farm, "avx8192", "time_travel");
    }

    [Fact]
    public void An_image_of_another_kernel_is_refused_with_that_kernels_name()
    {
        using var farm = new Farm();
        farm.Create("shell", Workers.Example("shell"));
        StoredImage.Rewrite(farm, "shell", manifest =>
        {
            manifest.Host.KernelRelease = "3.14.15-elsewhere";
            manifest.Host.VdsoLengthBytes += 4096;
        });
        AssertRefused(farm, "vDSO", "3.14.15-elsewhere");
    }

    /// <summary>The rewriting itself changes nothing: otherwise the refusals above would prove little.</summary>
    [Fact]
    public void An_image_that_was_rewritten_without_a_change_still_runs()
    {
        using var farm = new Farm();
        farm.Create("shell", Workers.Example("shell"));
        StoredImage.Rewrite(farm, "shell", manifest => manifest.Host.KernelRelease = "the release alone does not matter");
        var row = Assert.Single(farm.CloneAndWait("shell", ["{\"key\":5}"]));
        Assert.Equal(32, JsonDocument.Parse(row.GetProperty("answer").GetString()!).RootElement.GetProperty("value").GetInt32());
    }

    private static void AssertRefused(Farm farm, params string[] named)
    {
        var run = farm.Execute("--json", "clone", "shell", "--payload", "{\"key\":1}", "--wait");

        Assert.Equal(IncompatibleHost, run.ExitCode);
        var error = JsonDocument.Parse(run.Errors).RootElement.GetProperty("error");
        Assert.Equal("incompatible_host", error.GetProperty("code").GetString());
        Assert.All(named, name => Assert.Contains(name, error.GetProperty("message").GetString(), StringComparison.Ordinal));
        Assert.Empty(farm.Processes());
    }
}
