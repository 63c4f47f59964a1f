using System.Globalization;

namespace Snapshots.Cli;

/// <summary>
/// The environment a worker is launched with. It becomes part of the image and of every clone, so only what a program needs to run comes
/// from the shell: secrets that happen to be in it must not end up in a store.
/// </summary>
public static class WorkerEnvironment
{
    private static readonly string[] Inherited = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];

    /// <param name="pairs"><c>K=V</c> of the command line; they win.</param>
    /// <param name="hashSeed">For interpreters that would choose their own; null leaves it to them.</param>
    /// <exception cref="CliException">A pair is malformed.</exception>
    public static IReadOnlyList<string> Build(IEnumerable<string> pairs, uint? hashSeed = null)
    {
        var environment = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var name in Inherited)
        {
            if (Environment.GetEnvironmentVariable(name) is { } value)
                environment[name] = value;
        }
        if (hashSeed is { } seed)
            environment["PYTHONHASHSEED"] = seed.ToString(CultureInfo.InvariantCulture);
        foreach (var (key, value) in EnvironmentPairs.Parse(pairs))
            environment[key] = value;
        return [.. environment.Select(pair => $"{pair.Key}={pair.Value}")];
    }
}
