namespace Snapshots.AddressSpace;

/// <summary>Page sizes of x86-64, in bytes.</summary>
public static class PageSize
{
    /// <summary>The base page, 4 KiB.</summary>
    public const ulong Bytes = 4096;

    /// <summary>A transparent huge page mapped by one page-middle-directory entry, 2 MiB.</summary>
    public const ulong HugeBytes = 2 * 1024 * 1024;

    /// <summary>One past the highest address a 47-bit user address space can map (<c>TASK_SIZE_MAX</c> of x86-64).</summary>
    public const ulong UserAddressLimit = 0x0000_7fff_ffff_f000;
}
