// makedev(3); kernel include/linux/kdev_t.h.
namespace Snapshots.Linux.Proc;

/// <summary>Device numbers in the form of <c>st_dev</c> of stat(2), so that those from different interfaces can be compared.</summary>
public static class DeviceNumber
{
    /// <summary>From separate numbers, as maps and mountinfo print them.</summary>
    public static ulong Make(ulong major, ulong minor) =>
        ((major & 0xffff_f000) << 32) | ((major & 0xfff) << 8) | ((minor & 0xffff_ff00) << 12) | (minor & 0xff);

    /// <summary>From the kernel's inner form (12 bits major, 20 bits minor), which fdinfo and unix_diag print as one number.</summary>
    public static ulong FromKernel(ulong device) => Make(device >> 20, device & 0xf_ffff);
}
