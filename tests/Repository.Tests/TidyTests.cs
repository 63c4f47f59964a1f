using System.Text.RegularExpressions;
using Xunit;

namespace Snapshots.Repository.Tests;

/// <summary>The rules of the house that a machine can check.</summary>
public partial class TidyTests
{
    private const int MaximumLines = 500;
    private const string UnsafeRoom = "src/Linux/";

    [Fact]
    public void Unsafe_code_and_imports_live_in_one_room()
    {
        var wrong =
            from file in Sources().Where(file => !file.StartsWith(UnsafeRoom, StringComparison.Ordinal))
            from line in RepositoryFiles.Lines(file).Select((text, index) => (Text: text, Number: index + 1))
            where UnsafeCode().IsMatch(CodeOf(line.Text))
            select $"{file}:{line.Number}: {line.Text.Trim()}";
        AssertNone(wrong);
    }

    [Fact]
    public void Only_the_unsafe_room_may_allow_unsafe_blocks() =>
        AssertNone(RepositoryFiles.Below("src", "*.csproj")
            .Where(project => !project.StartsWith(UnsafeRoom, StringComparison.Ordinal) && RepositoryFiles.Read(project).Contains("AllowUnsafeBlocks", StringComparison.Ordinal)));

    [Fact]
    public void Every_system_call_file_names_its_man_page() =>
        AssertNone(RepositoryFiles.Below("src/Linux/Syscalls", "*.cs").Where(file => !ManPage().IsMatch(RepositoryFiles.Read(file)))
            .Select(file => $"{file} does not name a man page, such as open(2)"));

    [Fact]
    public void Files_stay_readable() =>
        AssertNone(Sources().Where(file => !GeneratedTables.Contains(file))
            .Select(file => (File: file, Lines: RepositoryFiles.Lines(file).Length))
            .Where(file => file.Lines > MaximumLines)
            .Select(file => $"{file.File} has {file.Lines} lines; the limit is {MaximumLines}"));

    [Fact]
    public void Every_room_has_a_readme() =>
        AssertNone(RepositoryFiles.Rooms.Where(room => !File.Exists(Path.Combine(RepositoryFiles.Root, "src", room, "README.md")))
            .Select(room => $"src/{room}/README.md is missing"));

    [Fact]
    public void Every_project_is_in_the_solution()
    {
        var solution = RepositoryFiles.Read("Snapshots.sln").Replace('\\', '/');
        AssertNone(RepositoryFiles.Below("src", "*.csproj").Concat(RepositoryFiles.Below("tests", "*.Tests.csproj")).Concat(RepositoryFiles.Below("benchmarks", "*.csproj"))
            .Where(project => !solution.Contains($"\"{project}\"", StringComparison.Ordinal))
            .Select(project => $"{project} is not in Snapshots.sln"));
    }

    [Fact]
    public void Nothing_is_left_to_do() =>
        AssertNone(
            from file in Sources().Concat(RepositoryFiles.Below("tests", "*.cs").Where(file => !file.EndsWith("TidyTests.cs", StringComparison.Ordinal)))
            from line in RepositoryFiles.Lines(file).Select((text, index) => (Text: text, Number: index + 1))
            where Unfinished().IsMatch(line.Text)
            select $"{file}:{line.Number}: {line.Text.Trim()}");

    [Fact]
    public void Links_between_documents_resolve()
    {
        var wrong =
            from page in RepositoryFiles.Below(".", "*.md")
            from Match link in Link().Matches(WithoutCode(RepositoryFiles.Read(page)))
            let target = link.Groups[1].Value
            where !target.Contains("://", StringComparison.Ordinal) && !target.StartsWith('#') && !target.StartsWith("mailto:", StringComparison.Ordinal)
            let path = Path.Combine(RepositoryFiles.Root, Path.GetDirectoryName(page)!, target.Split('#')[0])
            where !Path.Exists(path)
            select $"{page}: {target} does not exist";
        AssertNone(wrong);
    }

    [Fact]
    public void The_index_lists_every_document()
    {
        var index = RepositoryFiles.Read("docs/README.md");
        AssertNone(RepositoryFiles.Below("docs", "*.md").Select(page => Path.GetRelativePath("docs", page))
            .Where(page => page != "README.md" && !index.Contains($"({page})", StringComparison.Ordinal))
            .Select(page => $"docs/README.md does not list {page}"));
    }

    [Fact]
    public void Field_numbers_are_unique_in_each_message()
    {
        var wrong =
            from file in RepositoryFiles.Below("src", "*.proto")
            from message in ProtoMessages(RepositoryFiles.Read(file))
            from duplicate in message.Numbers.GroupBy(number => number).Where(same => same.Count() > 1)
            select $"{file}: {message.Name} uses field number {duplicate.Key} twice";
        AssertNone(wrong);
    }

    // Tables of the kernel's numbers: one line for each call.
    private static readonly string[] GeneratedTables = ["src/Linux/SyscallNumber.cs", "src/Linux/SyscallNames.cs"];

    private static IEnumerable<string> Sources() => RepositoryFiles.Below("src", "*.cs");

    private static string CodeOf(string line)
    {
        var comment = line.IndexOf("//", StringComparison.Ordinal);
        return comment < 0 ? line : line[..comment];
    }

    private static string WithoutCode(string markdown) => InlineCode().Replace(CodeBlock().Replace(markdown, ""), "");

    /// <summary>Messages with their own field numbers; those of a oneof belong to the message around it, those of a nested message do not.</summary>
    private static IEnumerable<(string Name, List<int> Numbers)> ProtoMessages(string proto)
    {
        var open = new Stack<(string? Name, List<int> Numbers)>();
        foreach (var raw in proto.Split('\n'))
        {
            var line = CodeOf(raw).Trim();
            var field = ProtoField().Match(line);
            if (field.Success && open.Count > 0)
                open.Peek().Numbers.Add(int.Parse(field.Groups[1].ValueSpan, System.Globalization.CultureInfo.InvariantCulture));
            foreach (var brace in line.Where(character => character is '{' or '}'))
            {
                if (brace == '{')
                {
                    var inside = line.StartsWith("oneof ", StringComparison.Ordinal) && open.Count > 0;
                    open.Push(inside ? (null, open.Peek().Numbers) : (line.TrimEnd('{', ' '), []));
                }
                else if (open.TryPop(out var closed) && closed.Name is not null)
                {
                    yield return (closed.Name, closed.Numbers);
                }
            }
        }
    }

    private static void AssertNone(IEnumerable<string> wrong)
    {
        var list = wrong.ToList();
        Assert.True(list.Count == 0, string.Join('\n', list));
    }

    [GeneratedRegex(@"\bunsafe\b|\bDllImport\b|\bLibraryImport\b|\bMarshal\.(Alloc|Free|Copy|PtrTo|StructureTo|ReAlloc)|\bNativeMemory\.|\bUnsafe\.")]
    private static partial Regex UnsafeCode();

    [GeneratedRegex(@"\w+\([1-8]\)")]
    private static partial Regex ManPage();

    [GeneratedRegex(@"\b(TODO|FIXME|HACK|XXX)\b|NotImplementedException")]
    private static partial Regex Unfinished();

    [GeneratedRegex(@"\[[^\]\n]*\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"^\s*```.*?^\s*```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"`[^`\n]*`")]
    private static partial Regex InlineCode();

    [GeneratedRegex(@"^(?:repeated |optional )?[\w.<>, ]+ \w+ = (\d+)\s*(?:\[[^\]]*\])?;")]
    private static partial Regex ProtoField();
}
