using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>The two-letter codes of VmFlags (proc_pid_smaps(5)) that a restore acts on.</summary>
internal static class VmFlags
{
    public const string DontFork = "dc";
    public const string GrowsDown = "gd";
    public const string Locked = "lo";
    public const string MayWrite = "mw";
    public const string NoHugePages = "nh";
    public const string NoReserve = "nr";
    public const string WipeOnFork = "wf";

    public static bool Has(this Mapping mapping, string flag) => mapping.VmFlags.Contains(flag);

    /// <summary>madvise(2) advice for the codes that fork hands on, in the order in which they are given.</summary>
    public static IEnumerable<(string Name, int Advice)> AdviceOf(Mapping mapping)
    {
        foreach (var flag in mapping.VmFlags)
        {
            var advice = flag switch
            {
                "rr" => 1, // MADV_RANDOM
                "sr" => 2, // MADV_SEQUENTIAL
                "mg" => 12, // MADV_MERGEABLE
                "hg" => 14, // MADV_HUGEPAGE
                NoHugePages => 15, // MADV_NOHUGEPAGE
                "dd" => 16, // MADV_DONTDUMP
                WipeOnFork => 18, // MADV_WIPEONFORK
                _ => 0,
            };
            if (advice != 0)
                yield return (flag, advice);
        }
    }
}
