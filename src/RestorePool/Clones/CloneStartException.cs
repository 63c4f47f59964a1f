using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Clones;

/// <summary>A clone could not start. Nothing of it is left, and the template can make the next one.</summary>
public sealed class CloneStartException : Exception
{
    private CloneStartException(string message, Exception? cause)
        : base(message, cause)
    {
    }

    /// <summary>The entry that failed (call, arguments, error, object); null when the clone was killed instead.</summary>
    public ProgramFailedException? Failure => InnerException as ProgramFailedException;

    internal static CloneStartException Failed(string snapshot, RestoreProgram program, HuskReport report)
    {
        var cause = new ProgramFailedException($"starting a clone of {snapshot}", program, report);
        return new CloneStartException(cause.Message, cause);
    }

    internal static CloneStartException Died(string snapshot, ExitStatus status) =>
        new($"starting a clone of {snapshot}: it ended before application code ran: {status}; a memory limit or an operator's kill are the usual reasons", null);
}
