using Snapshots.Cli.Json;
using Snapshots.Client.V1;

namespace Snapshots.Cli;

/// <summary>What the agent says of templates and their memory, in the shapes that are printed.</summary>
internal static class TemplateRows
{
    public static TemplateRow Describe(TemplateStatus template)
    {
        var (own, parked, clones) = (template.Template, template.Parked, template.Clones);
        return new TemplateRow(
            template.Snapshot,
            template.Digest,
            template.Pid,
            template.InUse,
            DateTimeOffset.FromUnixTimeMilliseconds(template.LastUsedUnixMs),
            parked.Processes,
            template.CloneCount,
            Of(own),
            Sum(parked),
            Sum(clones),
            Sum(own, parked, clones),
            template.Filling,
            template.CountedBytes,
            template.ParentDigest.Length > 0 ? template.ParentDigest : null);
    }

    private static MemoryRow Of(MemoryUse use) => Sum(use) with
    {
        ResidentKib = use.ResidentKib,
        HugeKib = use.HugeKib,
        SharedKib = use.SharedCleanKib + use.SharedDirtyKib,
        SharedCleanKib = use.SharedCleanKib,
        SharedDirtyKib = use.SharedDirtyKib,
    };

    private static MemoryRow Sum(params ReadOnlySpan<MemoryUse> uses)
    {
        var sum = new MemoryRow(0, 0, 0, 0, 0, 0, 0);
        foreach (var use in uses)
        {
            sum = new MemoryRow(
                sum.Processes + use.Processes,
                sum.PssKib + use.PssKib,
                sum.PrivateKib + use.PrivateCleanKib + use.PrivateDirtyKib,
                sum.PrivateCleanKib + use.PrivateCleanKib,
                sum.PrivateDirtyKib + use.PrivateDirtyKib,
                sum.SwapKib + use.SwapKib,
                sum.PageTablesKib + use.PageTablesKib);
        }
        return sum;
    }
}
