namespace Snapshots.Host;

/// <summary>Every limit of the agent, in one place.</summary>
public static class AgentLimits
{
    /// <summary>Clones that one request may launch.</summary>
    public const int MaxClonesPerRequest = 100_000;

    /// <summary>Most bytes kept of each stream of a clone; what comes after is read, counted and dropped, so that the clone never blocks.</summary>
    public const long LogCapBytes = 16 * 1024 * 1024;

    /// <summary>Longest first answer that is kept, bytes; a longer one is cut here.</summary>
    public const int AnswerCapBytes = 1024 * 1024;

    /// <summary>Most bytes of each stream that travel with the end of a clone.</summary>
    public const int OutputInEventBytes = 64 * 1024;

    /// <summary>Ended clones that are remembered with their logs; the oldest go first.</summary>
    public const int RememberedClones = 2_000;

    /// <summary>Longest payload of one clone, bytes: with the rest of its line it has to fit into the channel before anybody reads.</summary>
    public const int MaxPayloadBytes = 96 * 1024;

    /// <summary>How long a stopping agent waits for its clones to be gone.</summary>
    public static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(10);
}
