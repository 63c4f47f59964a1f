namespace Snapshots.Cli;

/// <summary><c>--env K=V</c>.</summary>
public static class EnvironmentPairs
{
    /// <summary>Later pairs win.</summary>
    /// <exception cref="CliException">A pair has no name or no equals sign.</exception>
    public static IEnumerable<(string Key, string Value)> Parse(IEnumerable<string> pairs)
    {
        foreach (var pair in pairs)
        {
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            if (equals < 1)
                throw CliException.Usage($"--env {pair}: write it as NAME=VALUE");
            yield return (pair[..equals], pair[(equals + 1)..]);
        }
    }
}
