using Snapshots.Images.V1;

namespace Snapshots.Bench;

/// <summary>Which probe fits a snapshot.</summary>
public static class AnswerProbes
{
    /// <summary>The worker's channel if it has one, else the port it listens on by its readiness; null when it has neither.</summary>
    public static IAnswerProbe? For(Manifest manifest, BenchOptions options)
    {
        var hasChannel = manifest.Processes[0].OpenFiles.Any(file => file.External?.Role == ExternalRole.Channel);
        var readiness = manifest.Readiness;
        return readiness?.KindCase switch
        {
            Readiness.KindOneofCase.Http => new HttpProbe((int)readiness.Http.Port, options.RequestPath ?? readiness.Http.Path, options.AnswerTimeout),
            Readiness.KindOneofCase.Port => new HttpProbe((int)readiness.Port, options.RequestPath ?? "/", options.AnswerTimeout),
            _ => hasChannel ? new ChannelProbe(options.AnswerTimeout) : null,
        };
    }
}
