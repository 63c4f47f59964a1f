namespace Snapshots.Cli;

/// <summary>How this program is started again.</summary>
internal static class OwnCommand
{
    /// <summary>The executable, and the assembly when the executable is the runtime's host.</summary>
    public static IReadOnlyList<string> Get()
    {
        var executable = Environment.ProcessPath ?? throw new InvalidOperationException("the path of the running program is unknown");
        return Path.GetFileNameWithoutExtension(executable) == "dotnet"
            ? [executable, typeof(OwnCommand).Assembly.Location]
            : [executable];
    }
}
