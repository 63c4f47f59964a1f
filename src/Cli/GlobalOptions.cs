using System.CommandLine;

namespace Snapshots.Cli;

/// <summary>Options that every verb takes.</summary>
public static class GlobalOptions
{
    public const string DefaultStore = "/var/lib/snapshots";

    public const string DefaultRun = "/run/snapshots";

    public static readonly Option<string> Store = new("--store")
    {
        Description = $"Directory of the image store (default: $SNAPSHOTS_STORE, else {DefaultStore})",
        HelpName = "DIR",
        Recursive = true,
        DefaultValueFactory = _ => FromEnvironment("SNAPSHOTS_STORE", DefaultStore),
    };

    public static readonly Option<string> Run = new("--run")
    {
        Description = $"Run directory of the agent (default: $SNAPSHOTS_RUN, else {DefaultRun})",
        HelpName = "DIR",
        Recursive = true,
        DefaultValueFactory = _ => FromEnvironment("SNAPSHOTS_RUN", DefaultRun),
    };

    public static readonly Option<bool> Json = new("--json")
    {
        Description = "Print JSON on stdout, and errors as {\"error\":{…}} on stderr",
        Recursive = true,
    };

    private static string FromEnvironment(string name, string otherwise) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : otherwise;
}
