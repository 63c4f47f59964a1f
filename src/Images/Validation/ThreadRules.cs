using Google.Protobuf;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images.Validation;

/// <summary>Rules of the threads of a process.</summary>
internal static class ThreadRules
{
    public static void Check(ProcessImage process, Rule rule)
    {
        rule.Limit(process.Threads.Count, ImageLimits.MaxThreads, "threads");
        rule.Require(process.Threads.Count > 0, "threads", "there must be one");
        rule.Require(process.Threads[0].Tid == process.Pid, "threads", "the first must be the main thread");
        var tids = new HashSet<uint>();
        foreach (var thread in process.Threads)
        {
            var part = $"thread {thread.Tid}";
            rule.Require(thread.Tid is > 0 and <= ImageLimits.MaxPid && tids.Add(thread.Tid), part, "thread ids must be possible and differ");
            CheckState(thread, part, rule);
        }
    }

    public static void CheckPending(IReadOnlyCollection<ByteString> signals, string owner, Rule rule)
    {
        rule.Limit(signals.Count, ImageLimits.MaxPendingSignals, $"pending signals of {owner}");
        foreach (var signal in signals)
            rule.Require(signal.Length == ImageLimits.SigInfoBytes, $"pending signals of {owner}", "each must be a siginfo_t");
    }

    private static void CheckState(ThreadImage thread, string part, Rule rule)
    {
        rule.Require(thread.Registers.Length == ImageLimits.RegistersBytes, part, "its registers must be a user_regs_struct");
        rule.Require(thread.Xstate.Length is >= ImageLimits.MinXstateBytes and <= ImageLimits.MaxXstateBytes, part, "its vector state has an impossible length");
        CheckPending(thread.PendingSignals, part, rule);
        rule.Limit(thread.Scheduling?.Affinity.Length ?? 0, ImageLimits.MaxAffinityBytes, $"bytes of processor set of {part}");
        CheckAddress(thread.ClearChildTid, part, rule);
        CheckAddress(thread.RobustListHead, part, rule);
        CheckAddress(thread.Rseq?.Address ?? 0, part, rule);
        CheckAddress(thread.AlternateStack?.Address ?? 0, part, rule);
    }

    private static void CheckAddress(ulong address, string part, Rule rule) =>
        rule.Require(address < PageSize.UserAddressLimit, part, $"{address:x} lies beyond the user address space");
}
