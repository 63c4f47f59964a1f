using Google.Protobuf;
using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.Images.Tests;

public sealed class FingerprintCheckTests
{
    private static HostFingerprint Host() => new()
    {
        KernelRelease = "6.18.1", BootId = "one", CpuFlags = { "avx2", "fpu" }, Xcr0 = 7, XstateSizeBytes = 832, VdsoLengthBytes = 0x6000,
        VdsoSha256 = ByteString.CopyFrom(new byte[32]),
    };

    [Fact]
    public void The_same_host_after_a_reboot_and_one_that_can_more_will_do()
    {
        var host = Host();
        host.BootId = "two";
        host.CpuFlags.Add("avx512f");
        host.Xcr0 = 0xe7;
        Assert.Empty(FingerprintCheck.Compare(Host(), host));
    }

    public static TheoryData<string, Action<HostFingerprint>> Differences => new()
    {
        { "avx2", host => host.CpuFlags.Remove("avx2") },
        { "XCR0", host => host.Xcr0 = 3 },
        { "832 bytes", host => host.XstateSizeBytes = 2696 },
        { "vDSO", host => host.VdsoLengthBytes = 0x5000 },
        { "vDSO", host => host.VdsoSha256 = ByteString.CopyFrom([.. Enumerable.Repeat((byte)1, 32)]) },
    };

    [Theory(DisableDiscoveryEnumeration = true)]
    [MemberData(nameof(Differences))]
    public void A_host_that_cannot_run_it_is_told_why(string told, Action<HostFingerprint> change)
    {
        var host = Host();
        change(host);
        Assert.Contains(told, Assert.Single(FingerprintCheck.Compare(Host(), host)).ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_snapshot_without_a_record_of_its_host_is_refused() => Assert.Single(FingerprintCheck.Compare(null, Host()));
}
