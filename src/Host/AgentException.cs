using Snapshots.Client;

namespace Snapshots.Host;

/// <summary>The agent cannot do what was asked; it goes on serving, unless this comes out of its start.</summary>
public sealed class AgentException(FarmErrorCode code, string message, Exception? cause = null) : Exception(message, cause)
{
    public FarmErrorCode Code { get; } = code;
}
