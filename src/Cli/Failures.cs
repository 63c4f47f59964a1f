using Snapshots.Bench;
using Snapshots.Cli.Json;
using Snapshots.Client;
using Snapshots.Host;
using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.Sandboxes;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Cli;

/// <summary>Which exit code and which machine-readable code each kind of failure has.</summary>
public static class Failures
{
    /// <param name="failure">What a verb threw.</param>
    /// <param name="interrupted">True after Ctrl-C or SIGTERM.</param>
    public static (int ExitCode, ErrorDescription Error) Describe(Exception failure, bool interrupted) => failure switch
    {
        CliException e => (e.ExitCode, new ErrorDescription(e.Code, e.Message)),
        FarmException { Code: FarmErrorCode.Cancelled } when interrupted => Interrupted(),
        FarmException e => (ExitCodeOf(e.Code), new ErrorDescription(FarmErrorCodes.NameOf(e.Code), e.Message)),
        AgentException e => (ExitCodeOf(e.Code), new ErrorDescription(FarmErrorCodes.NameOf(e.Code), e.Message)),
        FreezeRefusedException e => (ExitCodes.Refused, Refusal(e)),
        ImageException e => Describe(e),
        OperationCanceledException when interrupted => Interrupted(),
        WorkerNotReadyException => (ExitCodes.NotReady, new ErrorDescription("not_ready", failure.Message)),
        SpawnException => (ExitCodes.Failure, new ErrorDescription("cannot_start", failure.Message)),
        BenchException => (ExitCodes.CloneFailed, new ErrorDescription("clone_failed", failure.Message)),
        CloneStartException => (ExitCodes.CloneFailed, new ErrorDescription("clone_start_failed", failure.Message)),
        RestoreUnsupportedException => (ExitCodes.IncompatibleHost, new ErrorDescription("incompatible_host", failure.Message)),
        ProgramFailedException or HuskDiedException => (ExitCodes.CloneFailed, new ErrorDescription("clone_start_failed", failure.Message)),
        LinuxException { Errno: Errno.EPERM } e => (ExitCodes.Failure, new ErrorDescription("not_permitted", $"{e.Message}; `snapshots doctor` tells which privilege is missing")),
        LinuxException or IOException or UnauthorizedAccessException => (ExitCodes.Failure, new ErrorDescription("failure", failure.Message)),
        _ => (ExitCodes.Failure, new ErrorDescription("internal", failure.ToString())),
    };

    private static (int ExitCode, ErrorDescription Error) Interrupted() => (ExitCodes.Interrupted, new ErrorDescription("interrupted", "interrupted"));

    private static int ExitCodeOf(FarmErrorCode code) => code switch
    {
        FarmErrorCode.Unavailable => ExitCodes.AgentUnavailable,
        FarmErrorCode.NotFound => ExitCodes.NotFound,
        FarmErrorCode.InvalidRequest => ExitCodes.Usage,
        FarmErrorCode.ImageCorrupt => ExitCodes.ImageCorrupt,
        FarmErrorCode.IncompatibleHost => ExitCodes.IncompatibleHost,
        FarmErrorCode.StartFailed => ExitCodes.CloneFailed,
        _ => ExitCodes.Failure,
    };

    private static ErrorDescription Refusal(FreezeRefusedException refused) => new(
        "refused",
        refused.Message,
        [.. refused.Problems.Select(problem => new ErrorProblem(problem.Pid, problem.Subject, problem.What, problem.Cure))]);

    private static (int ExitCode, ErrorDescription Error) Describe(ImageException failure)
    {
        var exitCode = failure.Failure switch
        {
            ImageFailure.NotFound => ExitCodes.NotFound,
            ImageFailure.InvalidName => ExitCodes.Usage,
            ImageFailure.UnsupportedVersion => ExitCodes.IncompatibleHost,
            ImageFailure.WriteFailed => ExitCodes.Failure,
            _ => ExitCodes.ImageCorrupt,
        };
        var code = failure.Failure switch
        {
            ImageFailure.NotFound => "not_found",
            ImageFailure.InvalidName => "usage",
            ImageFailure.UnsupportedVersion => "incompatible_host",
            ImageFailure.WriteFailed => "failure",
            _ => "image_corrupt",
        };
        return (exitCode, new ErrorDescription(code, failure.Message));
    }
}
