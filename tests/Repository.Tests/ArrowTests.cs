using System.Xml.Linq;
using Xunit;

namespace Snapshots.Repository.Tests;

/// <summary>Which room may reference which: the table of docs/architecture.md.</summary>
public class ArrowTests
{
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["AddressSpace"] = [],
        ["Linux"] = ["AddressSpace"],
        ["Programs"] = ["Linux"],
        ["Sandboxes"] = ["Programs"],
        ["Tracing"] = ["Programs"],
        ["Images"] = ["AddressSpace"],
        ["PageStore"] = ["Images"],
        ["ImageFacts"] = ["Linux", "Images"],
        ["Snapshotter"] = ["Tracing", "ImageFacts", "PageStore", "Sandboxes"],
        ["RestorePool"] = ["ImageFacts", "PageStore", "Sandboxes", "Tracing"],
        ["Client"] = [],
        ["Host"] = ["Snapshotter", "RestorePool", "PageStore", "Client"],
        ["Bench"] = ["Snapshotter", "RestorePool", "PageStore"],
        ["Cli"] = ["Host", "Client", "Bench"],
    };

    [Fact]
    public void Every_room_references_only_what_the_table_allows()
    {
        var wrong = new List<string>();
        foreach (var room in RepositoryFiles.Rooms)
        {
            var references = References(room);
            if (!Allowed.ContainsKey(room))
                wrong.Add($"src/{room} is not in the table of {nameof(ArrowTests)} and docs/architecture.md: add it with its arrows");
            else
                wrong.AddRange(references.Except(Reachable(room)).Select(other => $"src/{room} must not reference src/{other}"));
        }
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Fact]
    public void Freezing_and_restoring_do_not_know_each_other()
    {
        Assert.DoesNotContain("RestorePool", Reachable("Snapshotter"));
        Assert.DoesNotContain("Snapshotter", Reachable("RestorePool"));
    }

    /// <summary>Starting a clone takes no ptrace stop: only the pages that the first ones touched are looked at in one.</summary>
    [Fact]
    public void Restoring_traces_nothing_but_to_learn_working_sets()
    {
        var tracing = RepositoryFiles.Below("src/RestorePool", "*.cs").Where(file => RepositoryFiles.Read(file).Contains("Snapshots.Tracing", StringComparison.Ordinal)).ToList();
        Assert.All(tracing, file => Assert.Contains("/WorkingSets/", file, StringComparison.Ordinal));
    }

    [Fact]
    public void The_architecture_page_lists_every_room()
    {
        var page = RepositoryFiles.Read("docs/architecture.md");
        var missing = RepositoryFiles.Rooms.Where(room => !page.Contains($"| `{room}` |", StringComparison.Ordinal)).ToList();
        Assert.True(missing.Count == 0, $"docs/architecture.md says nothing of: {string.Join(", ", missing)}");
    }

    private static IEnumerable<string> References(string room)
    {
        var project = XDocument.Parse(RepositoryFiles.Read($"src/{room}/{room}.csproj"));
        return project.Descendants("ProjectReference").Select(reference => Path.GetFileNameWithoutExtension((string)reference.Attribute("Include")!));
    }

    private static HashSet<string> Reachable(string room)
    {
        var found = new HashSet<string>();
        var open = new Stack<string>(Allowed[room]);
        while (open.TryPop(out var next))
        {
            if (found.Add(next))
                Array.ForEach(Allowed[next], open.Push);
        }
        return found;
    }
}
