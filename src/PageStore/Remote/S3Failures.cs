using System.Net;
using Amazon.Runtime;
using Amazon.S3;
using Snapshots.Images;

namespace Snapshots.PageStore.Remote;

/// <summary>What an object store's refusal means, and the words for it: address, status, cure.</summary>
internal static class S3Failures
{
    /// <param name="address">s3://BUCKET/KEY</param>
    /// <param name="act">What could not be done: "read".</param>
    /// <param name="endpoint">For messages; where nobody answered.</param>
    public static ImageException Describe(ImageFailure failure, string address, string act, string endpoint, Exception cause)
    {
        var message = $"{address}: cannot be {act}: {Explain(cause, endpoint)}";
        // The inner exception says to fsck that this proves nothing about the contents.
        return new ImageException(failure, message, new IOException(message, cause));
    }

    /// <summary>There is no such object, and the bucket that says so is there.</summary>
    public static bool IsMissing(AmazonS3Exception cause) =>
        cause.StatusCode == HttpStatusCode.NotFound && cause.ErrorCode is "NoSuchKey" or "NotFound" or "NoSuchUpload";

    public static bool IsOutOfRange(AmazonS3Exception cause) => cause.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable;

    /// <summary>The condition of a conditional request did not hold.</summary>
    public static bool IsPreconditionFailed(AmazonS3Exception cause) => cause.StatusCode == HttpStatusCode.PreconditionFailed;

    /// <summary>Somebody else stores the same object at this moment.</summary>
    public static bool IsConflict(AmazonS3Exception cause) => cause.StatusCode == HttpStatusCode.Conflict;

    /// <summary>The server does not know conditional puts.</summary>
    public static bool IsNotImplemented(AmazonS3Exception cause) => cause.StatusCode == HttpStatusCode.NotImplemented;

    /// <summary>The network, not the server's word.</summary>
    public static bool IsBrokenAnswer(Exception cause) => cause is IOException or HttpRequestException or System.Net.Sockets.SocketException;

    /// <summary>Everything that the SDK, the network or the time limit throws.</summary>
    public static bool IsRefusal(Exception cause) => cause is AmazonServiceException or AmazonClientException or OperationCanceledException or TimeoutException || IsBrokenAnswer(cause);

    private static string Explain(Exception cause, string endpoint) => cause switch
    {
        AmazonS3Exception { StatusCode: > 0 } s3 => $"HTTP {(int)s3.StatusCode} {s3.ErrorCode}: {Sentence(s3.Message)}; {Cure(s3)}",
        AmazonS3Exception { InnerException: null } s3 => $"{Sentence(s3.Message)}, which S3 promises; use another server",
        OperationCanceledException or TimeoutException => $"{endpoint} did not answer in time; check the network, and that the store's endpoint is right (`snapshots init` changes it)",
        AmazonClientException or AmazonServiceException when IsAboutCredentials(cause) =>
            "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        _ => $"{endpoint} cannot be reached: {Sentence(Innermost(cause).Message)}; check the network, and that the store's endpoint is right (`snapshots init` changes it)",
    };

    private static string Cure(AmazonS3Exception cause) => cause switch
    {
        { ErrorCode: "NoSuchBucket" } => "make the bucket, or name another with `snapshots init`",
        { StatusCode: HttpStatusCode.Forbidden or HttpStatusCode.Unauthorized } => "check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) and what they may do in this bucket",
        { StatusCode: HttpStatusCode.NotFound } => "it was deleted by somebody else than this store; `snapshots fsck` tells what is lost",
        { StatusCode: HttpStatusCode.PreconditionFailed } => "it was replaced while it was open; open the snapshot again",
        { StatusCode: HttpStatusCode.MovedPermanently or HttpStatusCode.TemporaryRedirect } => "the bucket lies elsewhere; correct region or endpoint with `snapshots init`",
        { StatusCode: HttpStatusCode.TooManyRequests or >= HttpStatusCode.InternalServerError } => "it was asked several times; try again later",
        _ => "look into the object store's log",
    };

    private static bool IsAboutCredentials(Exception cause) => cause.ToString().Contains("credentials", StringComparison.OrdinalIgnoreCase);

    private static string Sentence(string message) => message.TrimEnd('.', '\n', ' ');

    private static Exception Innermost(Exception cause) => cause.InnerException is { } inner ? Innermost(inner) : cause;
}
