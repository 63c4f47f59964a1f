using Snapshots.Cli.Text;

namespace Snapshots.Cli.Tests;

public sealed class ParsingTests
{
    [Theory]
    [InlineData("1500ms", 1.5)]
    [InlineData("90s", 90)]
    [InlineData("0.5s", 0.5)]
    [InlineData("2m", 120)]
    [InlineData("1h", 3600)]
    public void Durations_have_a_number_and_a_unit(string text, double seconds)
    {
        Assert.True(Durations.TryParse(text, out var duration));
        Assert.Equal(seconds, duration.TotalSeconds, precision: 6);
    }

    [Theory]
    [InlineData("")]
    [InlineData("5")]
    [InlineData("s")]
    [InlineData("-5s")]
    [InlineData("0s")]
    [InlineData("5 s")]
    [InlineData("5sm")]
    [InlineData("5d")]
    [InlineData("99999999h")]
    public void Anything_else_is_no_duration(string text) => Assert.False(Durations.TryParse(text, out _));

    [Theory]
    [InlineData("1B", 1)]
    [InlineData("4KiB", 4096)]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("8GiB", 8L << 30)]
    [InlineData("1.5GiB", 3L << 29)]
    [InlineData("1024TiB", Sizes.MaxBytes)]
    public void Sizes_have_a_number_and_a_unit_of_1024(string text, long expected)
    {
        Assert.True(Sizes.TryParse(text, out var bytes));
        Assert.Equal(expected, bytes);
    }

    [Theory]
    [InlineData("")]
    [InlineData("8")]
    [InlineData("GiB")]
    [InlineData("8GB")]
    [InlineData("8G")]
    [InlineData("8gib")]
    [InlineData("8 GiB")]
    [InlineData("-8GiB")]
    [InlineData("0GiB")]
    [InlineData("0.5B")]
    [InlineData("8GiBi")]
    [InlineData("1e3MiB")]
    [InlineData("1025TiB")]
    [InlineData("99999999999999999999TiB")]
    public void Anything_else_is_no_size(string text) => Assert.False(Sizes.TryParse(text, out _));

    [Fact]
    public void The_memory_of_templates_comes_from_the_option_then_the_environment_then_the_host()
    {
        const string Variable = "SNAPSHOTS_TEMPLATE_MEMORY";
        Assert.InRange(TemplateMemory("serve")!.Value, 1, Sizes.MaxBytes);
        try
        {
            Environment.SetEnvironmentVariable(Variable, "3GiB");
            Assert.Equal(3L << 30, TemplateMemory("serve"));
            Assert.Equal(5L << 20, TemplateMemory("serve --template-memory 5MiB"));
            Assert.Null(TemplateMemory("serve --template-memory none"));
            Environment.SetEnvironmentVariable(Variable, "none");
            Assert.Null(TemplateMemory("serve"));
        }
        finally
        {
            Environment.SetEnvironmentVariable(Variable, null);
        }
    }

    private static long? TemplateMemory(string arguments) => TemplateMemoryOption.Read(CommandLine.Build().Parse(arguments.Split(' ')));

    [Fact]
    public void Environment_pairs_keep_further_equals_signs()
    {
        Assert.Equal([("A", "b=c"), ("D", "")], EnvironmentPairs.Parse(["A=b=c", "D="]));
        Assert.Equal(ExitCodes.Usage, Assert.Throws<CliException>(() => EnvironmentPairs.Parse(["=x"]).ToList()).ExitCode);
        Assert.Equal(ExitCodes.Usage, Assert.Throws<CliException>(() => EnvironmentPairs.Parse(["x"]).ToList()).ExitCode);
    }

    [Fact]
    public void A_worker_inherits_little_and_is_given_what_the_command_line_says()
    {
        Environment.SetEnvironmentVariable("SNAPSHOTS_TEST_SECRET", "secret");
        var environment = WorkerEnvironment.Build(["PATH=/mine", "X=1"]);
        Assert.Contains("PATH=/mine", environment);
        Assert.Contains("X=1", environment);
        Assert.DoesNotContain(environment, pair => pair.StartsWith("SNAPSHOTS_TEST_SECRET=", StringComparison.Ordinal));
        Assert.DoesNotContain(environment, pair => pair.StartsWith("PYTHONHASHSEED=", StringComparison.Ordinal));
        Assert.Contains("PYTHONHASHSEED=7", WorkerEnvironment.Build([], hashSeed: 7));
        Assert.Contains("PYTHONHASHSEED=random", WorkerEnvironment.Build(["PYTHONHASHSEED=random"], hashSeed: 7));
    }

    [Fact]
    public void A_payload_is_JSON_on_one_line()
    {
        Assert.Equal(["{\"a\":1}"], Payloads.Read("{\"a\":1}", null));
        Assert.Equal(["{\"a\":1}"], Payloads.Read("{\n\"a\": 1\n}", null));
        Assert.Empty(Payloads.Read(null, null));
        Assert.Equal(ExitCodes.Usage, Assert.Throws<CliException>(() => Payloads.Read("{a:1}", null)).ExitCode);
    }

    [Fact]
    public void A_file_of_payloads_has_one_on_each_line_and_a_bad_line_is_named()
    {
        var file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, "1\n\n{\"b\":2}\n");
            Assert.Equal(["1", "{\"b\":2}"], Payloads.Read(null, file));
            File.WriteAllText(file, "1\n{\n");
            Assert.Contains("line 2", Assert.Throws<CliException>(() => Payloads.Read(null, file)).Message, StringComparison.Ordinal);
            File.WriteAllText(file, "\n");
            Assert.Throws<CliException>(() => Payloads.Read(null, file));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Theory]
    [InlineData(0.5, "0.50 µs")]
    [InlineData(850, "850 µs")]
    [InlineData(1250, "1.25 ms")]
    [InlineData(1_900_000, "1.90 s")]
    [InlineData(600_000_000, "10.0 min")]
    public void Times_have_three_figures(double microseconds, string text) => Assert.Equal(text, Units.Microseconds(microseconds));

    [Theory]
    [InlineData(512, "512 B")]
    [InlineData(1536, "1.50 KiB")]
    [InlineData(104857600, "100 MiB")]
    public void Sizes_have_three_figures(double bytes, string text) => Assert.Equal(text, Units.Bytes(bytes));
}
