using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images.Validation;

/// <summary>Rules of one process: its mappings, threads, attributes and descriptors.</summary>
internal static class ProcessRules
{
    private const uint AllProtections = 7;

    public static void Check(ProcessImage process, Manifest manifest, HashSet<uint> sharedMemory, Rule rule)
    {
        rule.Require(process.Pid is > 0 and <= ImageLimits.MaxPid, "process", $"pid {process.Pid} is none");
        rule.Require(process.ExeFile < manifest.Files.Count, "process.exe_file", "must name a file of the image");
        CheckMappings(process, manifest, sharedMemory, rule);
        CheckLayout(process.Layout, rule);
        ThreadRules.Check(process, rule);
        CheckAttributes(process, rule);
        DescriptorRules.Check(process, manifest, sharedMemory, rule);
    }

    private static void CheckMappings(ProcessImage process, Manifest manifest, HashSet<uint> sharedMemory, Rule rule)
    {
        rule.Limit(process.Mappings.Count, ImageLimits.MaxMappings, "mappings");
        ulong end = 0;
        foreach (var mapping in process.Mappings)
        {
            var part = $"mapping {mapping.Start:x}-{mapping.End:x}";
            rule.Require(mapping.Start % PageSize.Bytes == 0 && mapping.End % PageSize.Bytes == 0 && mapping.Start < mapping.End, part, "must be whole pages");
            rule.Require(mapping.Start >= end, part, "mappings must ascend without overlap");
            rule.Require(mapping.End <= PageSize.UserAddressLimit, part, "lies beyond the user address space");
            rule.Require(mapping.Protection <= AllProtections, part, "has an unknown protection");
            rule.Require(mapping.FileOffset % PageSize.Bytes == 0 && mapping.FileOffset <= long.MaxValue, part, "its file offset must be whole pages");
            foreach (var flag in mapping.VmFlags)
                rule.Require(flag.Length == 2 && char.IsAsciiLetterOrDigit(flag[0]) && char.IsAsciiLetterOrDigit(flag[1]), part, "a VmFlag has two letters");
            CheckKind(mapping, manifest, sharedMemory, part, rule);
            end = mapping.End;
        }
    }

    private static void CheckKind(Mapping mapping, Manifest manifest, HashSet<uint> sharedMemory, string part, Rule rule)
    {
        switch (mapping.Kind)
        {
            case MappingKind.PrivateAnonymous or MappingKind.Vdso:
                break;
            case MappingKind.PrivateFile or MappingKind.SharedFile:
                rule.Require(mapping.File < manifest.Files.Count, part, "must name a file of the image");
                break;
            case MappingKind.SharedMemory or MappingKind.PrivateSharedMemory:
                rule.Require(sharedMemory.Contains(mapping.SharedMemory), part, "must name a shared memory object of the image");
                break;
            default:
                rule.Require(false, part, $"has the unknown kind {(int)mapping.Kind}");
                break;
        }
        var isPrivate = mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile or MappingKind.PrivateSharedMemory;
        rule.Require(isPrivate || mapping.Extents.Count == 0, part, "only private mappings have pages of their own");
        ExtentRules.Check(mapping.Extents, (mapping.End - mapping.Start) / PageSize.Bytes, manifest.Pages, part, rule);
    }

    private static void CheckLayout(AddressSpaceLayout? layout, Rule rule)
    {
        if (layout is null)
            return;
        ReadOnlySpan<ulong> addresses =
        [
            layout.StartCode, layout.EndCode, layout.StartData, layout.EndData, layout.StartBrk, layout.Brk,
            layout.StartStack, layout.ArgStart, layout.ArgEnd, layout.EnvStart, layout.EnvEnd,
        ];
        foreach (var address in addresses)
            rule.Require(address <= PageSize.UserAddressLimit, "layout", $"{address:x} lies beyond the user address space");
        rule.Require(layout.StartBrk <= layout.Brk && layout.ArgStart <= layout.ArgEnd && layout.EnvStart <= layout.EnvEnd, "layout", "an end lies below its start");
        rule.Limit(layout.Auxv.Length, ImageLimits.MaxAuxvBytes, "bytes of auxiliary vector");
    }

    private static void CheckAttributes(ProcessImage process, Rule rule)
    {
        foreach (var action in process.SignalActions)
            rule.Require(action.Signal is >= 1 and <= ImageLimits.MaxSignal, "signal action", $"there is no signal {action.Signal}");
        foreach (var limit in process.Limits)
            rule.Require(limit.Resource < ImageLimits.ResourceLimitCount, "resource limit", $"there is no resource {limit.Resource}");
        ThreadRules.CheckPending(process.PendingSignals, "the process", rule);
        foreach (var timer in process.IntervalTimers)
            rule.Require(timer.Which <= 2, "interval timer", $"there is no timer {timer.Which}");
        rule.Limit(process.PosixTimers.Count, ImageLimits.MaxPosixTimers, "POSIX timers");
        foreach (var timer in process.PosixTimers)
            rule.Require(timer.Signal <= ImageLimits.MaxSignal && timer.Id <= int.MaxValue, $"POSIX timer {timer.Id}", "has an impossible id or signal");
        rule.Require(process.ParentDeathSignal <= ImageLimits.MaxSignal, "process", "has an impossible parent death signal");
        if (process.Credentials is not { } credentials)
            return;
        rule.Require(credentials.Uids.Count == 4 && credentials.Gids.Count == 4, "credentials", "must have real, effective, saved and file system ids");
        rule.Limit(credentials.Groups.Count, ImageLimits.MaxGroups, "groups");
    }
}
