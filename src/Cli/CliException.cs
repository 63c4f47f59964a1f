namespace Snapshots.Cli;

/// <summary>A verb cannot do what it was asked; <see cref="ExitCodes"/> and the machine-readable code go to the caller with the message.</summary>
public sealed class CliException(int exitCode, string code, string message, Exception? cause = null) : Exception(message, cause)
{
    public int ExitCode { get; } = exitCode;

    /// <summary>Short name for JSON, e.g. <c>not_found</c>.</summary>
    public string Code { get; } = code;

    public static CliException Usage(string message) => new(ExitCodes.Usage, "usage", message);
}
