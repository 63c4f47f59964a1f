namespace Snapshots.Client;

/// <summary>What both sides of the contract agree on beside the messages.</summary>
public static class FarmContract
{
    /// <summary>Raised when a client must be able to tell an older agent from a newer one.</summary>
    public const int Version = 1;

    /// <summary>File name of the agent's socket in its run directory.</summary>
    public const string SocketName = "farm.sock";

    /// <summary>Trailer that carries the <see cref="FarmErrorCode"/> of a failed call.</summary>
    public const string ErrorTrailer = "snapshots-error";

    /// <summary>Longest message either side accepts, bytes: a request with a payload for each of a thousand clones fits.</summary>
    public const int MaxMessageBytes = 64 * 1024 * 1024;

    /// <summary>Longest path of a unix socket (sun_path of unix(7) without its NUL), bytes.</summary>
    public const int MaxSocketPathBytes = 107;
}
