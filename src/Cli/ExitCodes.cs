namespace Snapshots.Cli;

/// <summary>What the program's exit code tells; docs/cli.md lists the same numbers. Numbers never change meaning.</summary>
public static class ExitCodes
{
    public const int Ok = 0;

    /// <summary>Something that no other code names; the message says what.</summary>
    public const int Failure = 1;

    /// <summary>The command line is wrong; nothing was done.</summary>
    public const int Usage = 2;

    /// <summary>No snapshot, process or clone of that name.</summary>
    public const int NotFound = 3;

    /// <summary>The process cannot be snapshotted; the report names every reason. It runs on.</summary>
    public const int Refused = 4;

    /// <summary>An image is truncated, altered or malformed.</summary>
    public const int ImageCorrupt = 5;

    /// <summary>This host lacks what the image, or the program itself, needs.</summary>
    public const int IncompatibleHost = 6;

    /// <summary>At least one clone did not start, or (with --wait) did not end with exit code 0.</summary>
    public const int CloneFailed = 7;

    /// <summary>No agent answers and none could be started, or it serves another store.</summary>
    public const int AgentUnavailable = 8;

    /// <summary>The worker ended, or was not ready in time.</summary>
    public const int NotReady = 9;

    /// <summary>Stopped by Ctrl-C or SIGTERM, as shells count it.</summary>
    public const int Interrupted = 130;
}
