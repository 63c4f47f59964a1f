namespace Snapshots.EndToEnd.Tests;

internal static class RepositoryRoot
{
    /// <summary>The folder that holds Snapshots.sln.</summary>
    public static string Path { get; } = Find();

    public static string Combine(string relative) => System.IO.Path.Combine(Path, relative);

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "Snapshots.sln")))
                return folder.FullName;
        }
        throw new InvalidOperationException($"no Snapshots.sln above {AppContext.BaseDirectory}: run the tests from a build inside the repository");
    }
}
