using Google.Protobuf;
using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>One thing in which a host differs from the one where a snapshot was taken, so that the snapshot cannot run there.</summary>
/// <param name="Property">What differs, in words.</param>
/// <param name="Cure">What the user can do.</param>
public sealed record FingerprintMismatch(string Property, string Snapshot, string Host, string Cure)
{
    public override string ToString() => $"{Property}: the snapshot has {Snapshot}, this host has {Host}. {Cure}";
}

/// <summary>Compares the host where a snapshot was taken with the one where it is to run.</summary>
public static class FingerprintCheck
{
    private const string TakeAgain = "Create the snapshot again on this host, or run it on a host like the first.";

    /// <summary>All that stands against running; empty when it may run. Kernel release and boot do not matter by themselves.</summary>
    public static IReadOnlyList<FingerprintMismatch> Compare(HostFingerprint? snapshot, HostFingerprint host)
    {
        if (snapshot is null)
            return [new FingerprintMismatch("host", "no record of its host", "one", TakeAgain)];
        var mismatches = new List<FingerprintMismatch>();
        var missing = snapshot.CpuFlags.Except(host.CpuFlags, StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        if (missing.Count > 0)
            mismatches.Add(new FingerprintMismatch("processor features", string.Join(' ', missing), "none of these", TakeAgain));
        if ((snapshot.Xcr0 & ~host.Xcr0) != 0)
            mismatches.Add(new FingerprintMismatch("enabled state components (XCR0)", $"0x{snapshot.Xcr0:x}", $"0x{host.Xcr0:x}", TakeAgain));
        if (snapshot.XstateSizeBytes != host.XstateSizeBytes)
            mismatches.Add(new FingerprintMismatch("vector state", $"{snapshot.XstateSizeBytes} bytes", $"{host.XstateSizeBytes} bytes", TakeAgain));
        if (snapshot.VdsoLengthBytes != host.VdsoLengthBytes)
            mismatches.Add(new FingerprintMismatch("vDSO", $"{snapshot.VdsoLengthBytes} bytes", $"{host.VdsoLengthBytes} bytes", KernelCure(snapshot)));
        else if (snapshot.VdsoSha256 != host.VdsoSha256)
            mismatches.Add(new FingerprintMismatch("vDSO", Describe(snapshot.VdsoSha256), Describe(host.VdsoSha256), KernelCure(snapshot)));
        return mismatches;
    }

    private static string KernelCure(HostFingerprint snapshot) => $"It was taken on kernel {snapshot.KernelRelease}: run it on that kernel, or create it again on this host.";

    private static string Describe(ByteString digest) => digest.IsEmpty ? "no digest" : $"sha256 {Convert.ToHexStringLower(digest.Span)[..12]}…";
}
