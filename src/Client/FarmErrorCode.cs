namespace Snapshots.Client;

/// <summary>Why a call to the agent failed, for callers that branch. The agent stays usable after each of them.</summary>
public enum FarmErrorCode
{
    /// <summary>Something that no other code names; the message says what.</summary>
    Internal,

    /// <summary>No agent listens on the socket.</summary>
    Unavailable,

    /// <summary>No snapshot or clone of that name.</summary>
    NotFound,

    /// <summary>The request contradicts itself.</summary>
    InvalidRequest,

    /// <summary>The image is truncated, altered, or malformed.</summary>
    ImageCorrupt,

    /// <summary>The image needs what this host lacks (CPU features, a file, a newer version of this program).</summary>
    IncompatibleHost,

    /// <summary>The clone could not be started; the message names the failing call and its object.</summary>
    StartFailed,

    /// <summary>The caller gave up.</summary>
    Cancelled,
}

/// <summary>Spelling of <see cref="FarmErrorCode"/> in trailers and JSON.</summary>
public static class FarmErrorCodes
{
    public static string NameOf(FarmErrorCode code) => code switch
    {
        FarmErrorCode.Unavailable => "agent_unavailable",
        FarmErrorCode.NotFound => "not_found",
        FarmErrorCode.InvalidRequest => "invalid_request",
        FarmErrorCode.ImageCorrupt => "image_corrupt",
        FarmErrorCode.IncompatibleHost => "incompatible_host",
        FarmErrorCode.StartFailed => "clone_start_failed",
        FarmErrorCode.Cancelled => "cancelled",
        _ => "internal",
    };

    /// <summary>The code of a name; <see cref="FarmErrorCode.Internal"/> for names of later versions.</summary>
    public static FarmErrorCode Parse(string? name) =>
        Enum.GetValues<FarmErrorCode>().FirstOrDefault(code => NameOf(code) == name, FarmErrorCode.Internal);
}
