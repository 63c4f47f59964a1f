using System.Text.Json;

namespace Snapshots.Cli.Tests;

/// <summary>Exit codes and outputs of the real program, as far as they need no snapshot.</summary>
public sealed class ProgramTests : IDisposable
{
    private readonly SnapshotsProgram _program = new();

    public void Dispose() => _program.Dispose();

    [Fact]
    public void Help_is_not_an_error()
    {
        var run = _program.Run("clone", "--help");
        Assert.Equal((ExitCodes.Ok, ""), (run.ExitCode, run.Errors));
        Assert.Contains("--payloads", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_command_line_is_a_usage_error_in_one_line()
    {
        var run = _program.Run("clone");
        Assert.Equal((ExitCodes.Usage, ""), (run.ExitCode, run.Output));
        Assert.Single(run.Errors.TrimEnd('\n').Split('\n'));
        Assert.Contains("snapshots clone --help", run.Errors, StringComparison.Ordinal);
    }

    /// <summary>The process in the background that would hold it says the same as create itself would.</summary>
    [Fact]
    public void A_worker_that_is_to_be_kept_running_and_does_not_start_is_reported_as_any_other()
    {
        var kept = _program.Run("create", "web", "--keep-running", "--", "/no/such/program");
        var plain = _program.Run("create", "web", "--", "/no/such/program");
        Assert.Equal((plain.ExitCode, plain.Output), (kept.ExitCode, kept.Output));
        Assert.Contains("/no/such/program", kept.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void An_error_is_JSON_for_those_who_read_JSON()
    {
        var run = _program.Run("inspect", "nothing", "--json");
        Assert.Equal((ExitCodes.NotFound, ""), (run.ExitCode, run.Output));
        var error = JsonDocument.Parse(run.Errors).RootElement.GetProperty("error");
        Assert.Equal("not_found", error.GetProperty("code").GetString());
        Assert.Contains("nothing", error.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_store_that_is_not_there_is_empty_and_is_not_made_by_looking()
    {
        Assert.Equal((ExitCodes.Ok, "[]\n", ""), Parts(_program.Run("ls", "--json")));
        Assert.False(Directory.Exists(_program.Store));
    }

    [Fact]
    public void A_damaged_image_is_reported_with_its_own_exit_code()
    {
        var names = Directory.CreateDirectory(Path.Combine(_program.Store, "names"));
        File.WriteAllText(Path.Combine(names.FullName, "web"), "no digest\n");
        var run = _program.Run("inspect", "web");
        Assert.Equal(ExitCodes.ImageCorrupt, run.ExitCode);
        Assert.Contains(names.FullName, run.Errors, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.ImageCorrupt, _program.Run("ls").ExitCode);
    }

    [Fact]
    public void A_name_that_no_snapshot_may_have_is_a_usage_error() => Assert.Equal(ExitCodes.Usage, _program.Run("rm", "../up").ExitCode);

    [Fact]
    public void Without_an_agent_no_clones_run()
    {
        Assert.Equal((ExitCodes.Ok, "[]\n", ""), Parts(_program.Run("ps", "--json")));
        Assert.Equal((ExitCodes.Ok, "{\"templates\":[]}\n", ""), Parts(_program.Run("templates", "--json")));
        Assert.Equal(ExitCodes.AgentUnavailable, _program.Run("kill", "0123").ExitCode);
        Assert.Equal(ExitCodes.AgentUnavailable, _program.Run("logs", "0123").ExitCode);
        Assert.False(Directory.Exists(_program.RunDirectory));
    }

    [Fact]
    public void The_agent_is_started_when_it_is_needed_found_again_and_stopped()
    {
        var first = _program.Run("clone", "nothing");
        Assert.Equal(ExitCodes.NotFound, first.ExitCode);
        Assert.Contains("started the agent", first.Errors, StringComparison.Ordinal);
        var second = _program.Run("clone", "nothing");
        Assert.Equal(ExitCodes.NotFound, second.ExitCode);
        Assert.DoesNotContain("started the agent", second.Errors, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.AgentUnavailable, _program.Run("clone", "nothing", "--store", "/tmp/another-store").ExitCode);
        Assert.Equal((ExitCodes.Ok, $"{{\"run\":\"{_program.RunDirectory}\",\"stopped\":true}}\n", ""), Parts(_program.Run("serve", "--stop", "--json")));
        Assert.False(File.Exists(Path.Combine(_program.RunDirectory, "farm.sock")));
        Assert.Contains("stopped", File.ReadAllText(Path.Combine(_program.RunDirectory, "farm.log")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Clones_that_find_no_agent_at_the_same_time_start_one()
    {
        var runs = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Task.Run(() => _program.Run("clone", "nothing"))));
        Assert.All(runs, run => Assert.Equal(ExitCodes.NotFound, run.ExitCode));
        Assert.Single(runs, run => run.Errors.Contains("started the agent", StringComparison.Ordinal));
    }

    [Fact]
    public void A_run_directory_that_cannot_be_served_is_explained()
    {
        Directory.CreateDirectory(_program.RunDirectory);
        File.SetUnixFileMode(_program.RunDirectory, (UnixFileMode)0b111_111_111);
        var run = _program.Run("clone", "nothing");
        Assert.Equal(ExitCodes.Usage, run.ExitCode);
        Assert.Contains("chmod 700", run.Errors, StringComparison.Ordinal);
        File.SetUnixFileMode(_program.RunDirectory, (UnixFileMode)0b111_000_000);
    }

    [Fact]
    public void Doctor_says_of_everything_what_it_is_needed_for()
    {
        var run = _program.Run("doctor", "--json");
        Assert.Contains(run.ExitCode, new[] { ExitCodes.Ok, ExitCodes.IncompatibleHost });
        var checks = JsonDocument.Parse(run.Output).RootElement.EnumerateArray().ToList();
        Assert.Contains(checks, check => check.GetProperty("name").GetString() == "CAP_SYS_ADMIN");
        Assert.All(checks, check =>
        {
            Assert.NotEqual("", check.GetProperty("needed_for").GetString());
            Assert.Equal(check.GetProperty("status").GetString() != "ok", check.TryGetProperty("cure", out _));
        });
    }

    private static (int ExitCode, string Output, string Errors) Parts(ProgramRun run) => (run.ExitCode, run.Output, run.Errors);
}
