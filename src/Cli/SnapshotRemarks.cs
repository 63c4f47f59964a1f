using Snapshots.Images.V1;
using Snapshots.RestorePool.ForkDetection;

namespace Snapshots.Cli;

/// <summary>What <c>create</c> and <c>inspect</c> say of a snapshot beside its numbers.</summary>
internal static class SnapshotRemarks
{
    public static IReadOnlyList<string> Of(Manifest manifest) =>
        [.. ForkDetectionPlan.For(manifest).Remarks.Select(remark => $"clones may repeat each other's OpenSSL random numbers: {remark}. Let the worker seed when it wakes (docs/random-numbers.md)")];
}
