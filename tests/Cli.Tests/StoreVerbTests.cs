using System.Text.Json;

namespace Snapshots.Cli.Tests;

/// <summary>The verbs that look after the store: exit codes and outputs of the real program, as far as they need no snapshot.</summary>
public sealed class StoreVerbTests : IDisposable
{
    private readonly SnapshotsProgram _program = new();

    public void Dispose() => _program.Dispose();

    [Theory]
    [InlineData("fsck", "problems")]
    [InlineData("gc", "freed_bytes")]
    [InlineData("df", "stored_bytes")]
    public void A_store_that_is_not_there_is_whole_and_empty_and_is_not_made_by_looking(string verb, string property)
    {
        var run = _program.Run(verb, "--json");
        Assert.Equal((ExitCodes.Ok, ""), (run.ExitCode, run.Errors));
        Assert.True(JsonDocument.Parse(run.Output).RootElement.TryGetProperty(property, out _));
        Assert.Equal(ExitCodes.Ok, _program.Run(verb).ExitCode);
        Assert.False(Directory.Exists(_program.Store));
    }

    [Fact]
    public void Fsck_reports_damage_until_it_is_repaired()
    {
        var name = Path.Combine(Directory.CreateDirectory(Path.Combine(_program.Store, "names")).FullName, "web");
        File.WriteAllText(name, "no digest\n");
        Assert.Equal(ExitCodes.ImageCorrupt, _program.Run("df").ExitCode);
        var found = _program.Run("fsck", "--json");
        Assert.Equal(ExitCodes.ImageCorrupt, found.ExitCode);
        var problem = JsonDocument.Parse(found.Output).RootElement.GetProperty("problems")[0];
        Assert.Equal(("web", true, false), (problem.GetProperty("subject").GetString(), problem.GetProperty("proven").GetBoolean(), problem.GetProperty("repaired").GetBoolean()));
        var repaired = _program.Run("fsck", "--repair");
        Assert.Equal(ExitCodes.ImageCorrupt, repaired.ExitCode);
        Assert.Contains("lost: web\n", repaired.Output, StringComparison.Ordinal);
        Assert.False(File.Exists(name));
        Assert.Equal(ExitCodes.Ok, _program.Run("fsck").ExitCode);
    }

    [Fact]
    public void What_cannot_be_imported_or_exported_has_the_exit_code_of_its_reason()
    {
        var file = Path.Combine(Directory.CreateDirectory(_program.Store).FullName, "file");
        Assert.Equal(ExitCodes.NotFound, _program.Run("import", file).ExitCode);
        File.WriteAllBytes(file, new byte[1000]);
        var run = _program.Run("import", file);
        Assert.Equal(ExitCodes.ImageCorrupt, run.ExitCode);
        Assert.Contains(file, run.Errors, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.NotFound, _program.Run("export", "web", file + "2").ExitCode);
        Assert.False(File.Exists(file + "2"));
    }

    [Fact]
    public void A_store_is_made_and_keeps_its_packs_itself_unless_told_otherwise()
    {
        var run = _program.Run("init", "--json");
        Assert.Equal((ExitCodes.Ok, ""), (run.ExitCode, run.Errors));
        Assert.Equal(["store"], JsonDocument.Parse(run.Output).RootElement.EnumerateObject().Select(property => property.Name));
        Assert.True(Directory.Exists(Path.Combine(_program.Store, "names")));
    }

    [Theory]
    [InlineData("--endpoint", "http://127.0.0.1:1")]
    [InlineData("--cache", "1GiB")]
    [InlineData("--packs", "farm/one")]
    [InlineData("--packs", "s3://farm/one", "--cache", "lots")]
    [InlineData("--packs", "s3://farm/one", "--cache", "1MiB")]
    [InlineData("--packs", "s3://farm/one", "--endpoint", "nowhere")]
    [InlineData("--packs", "s3://farm/one", "--endpoint", "http://user:secret@host")]
    public void What_cannot_be_the_place_of_packs_changes_nothing(params string[] options)
    {
        var run = _program.Run(["init", .. options]);
        Assert.Equal(ExitCodes.Usage, run.ExitCode);
        Assert.DoesNotContain("secret", run.Errors, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_program.Store));
    }

    [Fact]
    public void A_file_that_says_where_packs_lie_and_breaks_a_rule_is_named()
    {
        var file = Path.Combine(Directory.CreateDirectory(_program.Store).FullName, "packs.json");
        File.WriteAllText(file, "{\"version\":1,\"storage\":\"tape\"}");
        var run = _program.Run("df");
        Assert.Equal(ExitCodes.ImageCorrupt, run.ExitCode);
        Assert.Contains($"{file}: \"storage\"", run.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Aslr_is_for_workers_that_are_launched() => Assert.Equal(ExitCodes.Usage, _program.Run("create", "web", "--pid", "1", "--aslr").ExitCode);
}
