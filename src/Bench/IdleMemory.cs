using Snapshots.Images;
using Snapshots.Linux.Proc;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;

namespace Snapshots.Bench;

/// <summary>
/// Memory of clones that are alive at once and wait for something to do: workers with a channel for their request, servers for their second
/// request after they have answered a first.
/// </summary>
/// <param name="PrivateKib">Mean pages of a clone that nobody else has.</param>
/// <param name="PssKib">Mean proportional set size: shared pages divided by their users.</param>
public sealed record IdleMemory(int Clones, double PrivateKib, double PssKib)
{
    // Long enough for runtimes with background threads to come to rest after their wake-up; there is no event for being idle.
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    public static IdleMemory Measure(RestoreEngine engine, SnapshotImage image, IAnswerProbe? probe, int count, CancellationToken cancellation)
    {
        var clones = new List<Clone>(count);
        try
        {
            for (var i = 0; i < count; i++)
                clones.Add(engine.Launch(image, new CloneRequest { Id = CloneDriver.NextId(), WithholdRequest = true }));
            // A channel answers once, and its worker then usually ends; a server stays.
            if (probe is HttpProbe)
                clones.ForEach(clone => probe.Await(clone.Channel, clone.OpenNetworkNamespace));
            return Of(clones, cancellation);
        }
        finally
        {
            clones.ForEach(clone => clone.Dispose());
        }
    }

    /// <summary>Memory of these clones once they have settled.</summary>
    public static IdleMemory Of(IReadOnlyList<Clone> clones, CancellationToken cancellation)
    {
        cancellation.WaitHandle.WaitOne(Settling);
        cancellation.ThrowIfCancellationRequested();
        var uses = clones.Select(clone => SmapsRollup.Read(clone.HostPid)).ToList();
        return new IdleMemory(
            clones.Count,
            Math.Round(uses.Average(use => (double)(use.PrivateCleanKib + use.PrivateDirtyKib)), 1),
            Math.Round(uses.Average(use => (double)use.PssKib), 1));
    }
}
