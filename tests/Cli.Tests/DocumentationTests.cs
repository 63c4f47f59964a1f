using System.CommandLine;
using System.Reflection;

namespace Snapshots.Cli.Tests;

/// <summary>docs/cli.md tells all that the program takes and returns.</summary>
public sealed class DocumentationTests
{
    private readonly string _page = File.ReadAllText(FindPage());

    [Fact]
    public void Every_verb_and_every_option_is_described()
    {
        var root = CommandLine.Build();
        foreach (var verb in root.Subcommands)
        {
            Assert.Contains($"snapshots {verb.Name}", _page, StringComparison.Ordinal);
            var section = Section(verb.Name);
            Assert.All(verb.Options.Where(option => !option.Hidden && option.Name != "--help"), option => Assert.Contains(option.Name, section, StringComparison.Ordinal));
        }
        Assert.All(root.Options.Where(option => option.Recursive && option.Name is not "--help"), option => Assert.Contains($"`{option.Name}", _page, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_exit_code_is_described() =>
        Assert.All(typeof(ExitCodes).GetFields(BindingFlags.Public | BindingFlags.Static), field => Assert.Contains($"\n| {field.GetRawConstantValue()} |", _page, StringComparison.Ordinal));

    private string Section(string verb)
    {
        var start = _page.IndexOf($"### `snapshots {verb}", StringComparison.Ordinal);
        Assert.True(start >= 0, $"docs/cli.md has no section on {verb}");
        var end = _page.IndexOf("\n### ", start + 1, StringComparison.Ordinal);
        return end < 0 ? _page[start..] : _page[start..end];
    }

    private static string FindPage()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            var candidate = Path.Combine(directory.FullName, "docs", "cli.md");
            if (File.Exists(candidate))
                return candidate;
        }
        throw new FileNotFoundException("docs/cli.md is not above the tests");
    }
}
