using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.ImageFacts;

/// <summary>What a host must offer for a snapshot: noted when one is taken, compared when it is to run.</summary>
public static class HostFingerprints
{
    /// <summary>A record of its own for each caller.</summary>
    public static HostFingerprint Current()
    {
        var facts = HostFacts.Current;
        return new HostFingerprint
        {
            KernelRelease = facts.KernelRelease,
            CpuFlags = { facts.CpuFlags },
            Xcr0 = facts.Xcr0,
            XstateSizeBytes = facts.XstateSizeBytes,
            VdsoLengthBytes = facts.VdsoLengthBytes,
            VdsoSha256 = ByteString.CopyFrom(facts.VdsoSha256),
            BootId = facts.BootId,
        };
    }
}
