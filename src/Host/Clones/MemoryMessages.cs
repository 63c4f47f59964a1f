using Snapshots.Client.V1;
using Snapshots.Linux.Proc;
using MemoryUse = Snapshots.Client.V1.MemoryUse;

namespace Snapshots.Host.Clones;

/// <summary>Memory as the contract tells it; docs/memory.md says what each number counts.</summary>
internal static class MemoryMessages
{
    public static MemoryUse Describe(ProcessMemory memory) => new()
    {
        Processes = (uint)memory.Processes,
        ResidentKib = memory.ResidentKib,
        PssKib = memory.PssKib,
        SharedCleanKib = memory.SharedCleanKib,
        SharedDirtyKib = memory.SharedDirtyKib,
        PrivateCleanKib = memory.PrivateCleanKib,
        PrivateDirtyKib = memory.PrivateDirtyKib,
        SwapKib = memory.SwapPssKib,
        HugeKib = memory.HugeKib,
        PageTablesKib = memory.PageTablesKib,
    };

    /// <param name="clones">Those of the template's snapshot that ran after <paramref name="template"/> was looked at.</param>
    public static TemplateStatus Describe(RestorePool.Templates.TemplateStatus template, IReadOnlyList<CloneRecord> clones)
    {
        var alive = clones.Select(clone => clone.Process.ReadMemory()).OfType<ProcessMemory>().ToList();
        return new TemplateStatus
        {
            Snapshot = template.Name,
            Digest = template.Digest,
            Pid = (uint)template.Pid,
            LastUsedUnixMs = (DateTimeOffset.UtcNow - template.Idle).ToUnixTimeMilliseconds(),
            InUse = template.InUse,
            Template = Describe(template.Memory),
            Parked = Describe(ProcessMemory.Sum(template.ParkedPids.Except(clones.Select(clone => clone.Process.HostPid)))),
            Clones = Describe(alive.Aggregate(new ProcessMemory(), (sum, one) => sum + one)),
            CloneCount = (uint)alive.Count,
            Filling = template.IsFilling,
            ParentDigest = template.ParentDigest ?? string.Empty,
            CountedBytes = (ulong)template.CountedBytes,
        };
    }
}
