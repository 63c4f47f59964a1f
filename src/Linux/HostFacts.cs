using System.Runtime.Intrinsics.X86;
using System.Security.Cryptography;
using Snapshots.AddressSpace;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Linux;

/// <summary>What two hosts must share for a snapshot of one to run on the other: CPU features, vector state, and the kernel's vDSO. Read once; immutable.</summary>
public sealed record HostFacts
{
    private static readonly Lazy<HostFacts> s_current = new(Read);

    private HostFacts()
    {
    }

    /// <summary>Facts of this host.</summary>
    public static HostFacts Current => s_current.Value;

    /// <summary>uname -r.</summary>
    public required string KernelRelease { get; init; }

    /// <summary>The flags of /proc/cpuinfo, sorted.</summary>
    public required IReadOnlyList<string> CpuFlags { get; init; }

    /// <summary>State components that XCR0 may enable on this CPU (CPUID leaf 0xD, sub-leaf 0, EDX:EAX).</summary>
    public required ulong Xcr0 { get; init; }

    /// <summary>Size of an XSAVE area for the components enabled now (CPUID leaf 0xD, sub-leaf 0, EBX), in bytes.</summary>
    public required uint XstateSizeBytes { get; init; }

    /// <summary>Length of [vvar], [vvar_vclock] and [vdso] together, in bytes.</summary>
    public required ulong VdsoLengthBytes { get; init; }

    /// <summary>SHA-256 of the [vdso] mapping.</summary>
    public required byte[] VdsoSha256 { get; init; }

    /// <summary>/proc/sys/kernel/random/boot_id.</summary>
    public required string BootId { get; init; }

    private static HostFacts Read()
    {
        const int ExtendedStateLeaf = 0xD;
        var state = X86Base.CpuId(ExtendedStateLeaf, 0);
        var maps = Maps.Read(Environment.ProcessId).Where(map => map.Path is "[vvar]" or "[vvar_vclock]" or "[vdso]").ToList();
        var vdso = maps.Single(map => map.Path == "[vdso]").Range;
        var text = new byte[vdso.LengthBytes];
        if (ProcessVm.Read(Environment.ProcessId, vdso.Start, text, out var length) is var errno && (errno != Errno.None || length != text.Length))
            throw new LinuxException("process_vm_readv", errno, "our own vDSO");
        return new HostFacts
        {
            KernelRelease = File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
            CpuFlags = [.. CpuInfo.Flags().Order(StringComparer.Ordinal)],
            Xcr0 = (uint)state.Eax | ((ulong)(uint)state.Edx << 32),
            XstateSizeBytes = (uint)state.Ebx,
            VdsoLengthBytes = maps.Aggregate(0UL, (sum, map) => sum + map.Range.LengthBytes),
            VdsoSha256 = SHA256.HashData(text),
            BootId = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim(),
        };
    }
}
