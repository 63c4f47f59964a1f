namespace Snapshots.Host;

/// <param name="Run">The agent's directory.</param>
/// <param name="StoreDirectory">Absolute path of the image store it serves from.</param>
public sealed record AgentOptions(RunDirectory Run, string StoreDirectory)
{
    /// <summary>Gets one line for each thing worth knowing.</summary>
    public TextWriter Log { get; init; } = TextWriter.Null;

    /// <summary>Launches under way at once.</summary>
    public int LauncherThreads { get; init; } = Math.Clamp(Environment.ProcessorCount, 1, 8);
}
