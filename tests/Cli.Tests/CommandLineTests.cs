namespace Snapshots.Cli.Tests;

public sealed class CommandLineTests
{
    [Theory]
    [InlineData("doctor")]
    [InlineData("create web -- node server.js --port 8080")]
    [InlineData("create web --ready http:8080/health --timeout 90s --env A=1 --env B=2 --workdir /srv -- node server.js")]
    [InlineData("create web --pid 1234")]
    [InlineData("create web --pid 1234 --keep-running")]
    [InlineData("create web --keep-running -- node")]
    [InlineData("ls --json")]
    [InlineData("inspect web --program")]
    [InlineData("rm web other")]
    [InlineData("clone web --count 3 --wait")]
    [InlineData("clone web --payload 1 --store /tmp/store --run /tmp/run")]
    [InlineData("clone web --payloads file.jsonl")]
    [InlineData("ps --json")]
    [InlineData("kill 0123 4567")]
    [InlineData("kill --all")]
    [InlineData("logs 0123 --follow")]
    [InlineData("serve")]
    [InlineData("serve --template-memory 8GiB --parked 2")]
    [InlineData("serve --template-memory none")]
    [InlineData("templates --json")]
    [InlineData("bench web --count 10 --cold-count 0 --json")]
    [InlineData("demo --count 5")]
    public void These_are_understood(string arguments) => Assert.Empty(CommandLine.Build().Parse(arguments.Split(' ')).Errors);

    [Theory]
    [InlineData("")]
    [InlineData("frobnicate")]
    [InlineData("create web")]
    [InlineData("create web --pid 1234 -- node")]
    [InlineData("create web --pid 1234 --ready notify")]
    [InlineData("create web --timeout soon -- node")]
    [InlineData("create web --ready sometime -- node")]
    [InlineData("create web --ready port:x -- node")]
    [InlineData("inspect")]
    [InlineData("rm")]
    [InlineData("clone web --count 0")]
    [InlineData("clone web --payload 1 --payloads file.jsonl")]
    [InlineData("kill")]
    [InlineData("kill 0123 --all")]
    [InlineData("bench web --count 0")]
    [InlineData("bench web --path health")]
    [InlineData("bench web --count many")]
    [InlineData("clone web --count many")]
    [InlineData("create web --pid self")]
    [InlineData("create web --pid 0")]
    [InlineData("serve --template-memory 8")]
    [InlineData("serve --template-memory all")]
    [InlineData("serve --template-memory 0MiB")]
    [InlineData("templates web")]
    [InlineData("demo --count 0")]
    public void These_are_not(string arguments) =>
        Assert.NotEmpty(CommandLine.Build().Parse(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Errors);

    [Fact]
    public void What_follows_the_dashes_belongs_to_the_worker()
    {
        var parsed = CommandLine.Build().Parse(["create", "web", "--", "worker", "--json", "--store", "x", "@file"]);
        Assert.Empty(parsed.Errors);
        Assert.Equal(["worker", "--json", "--store", "x", "@file"], parsed.GetRequiredValue<string[]>("COMMAND"));
        Assert.False(parsed.GetValue(GlobalOptions.Json));
    }
}
