namespace Snapshots.Repository.Tests;

/// <summary>The working tree that these tests were built from, without what builds put there.</summary>
internal static class RepositoryFiles
{
    private static readonly string[] BuiltFolders = ["bin", "obj", ".git", "artifacts", "TestResults", "node_modules"];

    /// <summary>Absolute path of the folder that holds Snapshots.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Names of the rooms: the folders of src/.</summary>
    public static IEnumerable<string> Rooms =>
        Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.csproj", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1 })
            .Select(project => Path.GetFileName(Path.GetDirectoryName(project)!));

    /// <summary>Files below a folder of the repository, as paths relative to the root.</summary>
    public static IEnumerable<string> Below(string folder, string pattern) =>
        Files(new DirectoryInfo(Path.Combine(Root, folder)), pattern).Select(file => Path.GetRelativePath(Root, file.FullName)).Order(StringComparer.Ordinal);

    public static string Read(string relativePath) => File.ReadAllText(Path.Combine(Root, relativePath));

    public static string[] Lines(string relativePath) => File.ReadAllLines(Path.Combine(Root, relativePath));

    private static IEnumerable<FileInfo> Files(DirectoryInfo folder, string pattern) =>
        folder.EnumerateFiles(pattern).Concat(
            folder.EnumerateDirectories().Where(inner => !BuiltFolders.Contains(inner.Name)).SelectMany(inner => Files(inner, pattern)));

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Snapshots.sln")))
                return folder.FullName;
        }
        throw new InvalidOperationException($"no Snapshots.sln above {AppContext.BaseDirectory}: run the tests from a build inside the repository");
    }
}
