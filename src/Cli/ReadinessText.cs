using Snapshots.Images.V1;

namespace Snapshots.Cli;

/// <summary>How a snapshot was found ready, spelled as <c>--ready</c> takes it.</summary>
internal static class ReadinessText
{
    public static string Of(Readiness? readiness) => readiness?.KindCase switch
    {
        Readiness.KindOneofCase.Notify => "notify",
        Readiness.KindOneofCase.Channel => "channel",
        Readiness.KindOneofCase.Port => $"port:{readiness.Port}",
        Readiness.KindOneofCase.StdoutRegex => $"stdout:{readiness.StdoutRegex}",
        Readiness.KindOneofCase.Http => $"http:{readiness.Http.Port}{readiness.Http.Path}",
        Readiness.KindOneofCase.AfterMilliseconds => $"after:{readiness.AfterMilliseconds}ms",
        Readiness.KindOneofCase.Immediate => "running",
        _ => "unknown",
    };
}
