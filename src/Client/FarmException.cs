using Grpc.Core;

namespace Snapshots.Client;

/// <summary>A call to the agent failed; <see cref="Code"/> says how, the message says what to do.</summary>
public sealed class FarmException : Exception
{
    public FarmException(FarmErrorCode code, string message, Exception? cause = null)
        : base(message, cause) => Code = code;

    public FarmErrorCode Code { get; }

    /// <param name="failure">What the gRPC client threw.</param>
    /// <param name="socketPath">Names the agent in the message.</param>
    internal static FarmException From(RpcException failure, string socketPath)
    {
        var named = failure.Trailers.GetValue(FarmContract.ErrorTrailer);
        if (named is not null)
            return new FarmException(FarmErrorCodes.Parse(named), failure.Status.Detail, failure);
        return failure.StatusCode switch
        {
            StatusCode.Unavailable => new FarmException(
                FarmErrorCode.Unavailable, $"no agent answers on {socketPath}; start it with `snapshots serve`, or look into farm.log beside it", failure),
            StatusCode.Unimplemented => new FarmException(
                FarmErrorCode.Internal, $"the agent on {socketPath} is of an older version, which does not know this call: stop it with `snapshots serve --stop`", failure),
            StatusCode.Cancelled => new FarmException(FarmErrorCode.Cancelled, "the call was cancelled", failure),
            _ => new FarmException(FarmErrorCode.Internal, $"the agent on {socketPath} failed: {failure.Status.Detail}", failure),
        };
    }
}
