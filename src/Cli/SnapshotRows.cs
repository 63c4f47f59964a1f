using Snapshots.Cli.Json;
using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.Cli;

/// <summary>A manifest in one row.</summary>
internal static class SnapshotRows
{
    public static SnapshotRow Describe(string name, SnapshotDigest digest, Manifest manifest) => new(
        name,
        digest.ToString(),
        DateTimeOffset.FromUnixTimeMilliseconds(manifest.CreatedUnixMs),
        manifest.Launch?.Command.ToArray() ?? [],
        manifest.Pages.LengthBytes,
        manifest.Statistics?.ResidentBytes ?? 0,
        manifest.Processes.Sum(process => process.Threads.Count),
        manifest.Processes.Sum(process => process.Mappings.Count),
        manifest.Processes.Sum(process => process.Descriptors.Count),
        ReadinessText.Of(manifest.Readiness),
        LayerOf(manifest.Layer));

    private static LayerDetails? LayerOf(LayerOrigin? layer) =>
        layer is null ? null : new LayerDetails(layer.ParentName, SnapshotDigest.FromBytes(layer.ParentSha256.Span).ToString(), layer.UnchangedBytes);
}
