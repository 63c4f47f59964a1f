using Snapshots.AddressSpace;

namespace Snapshots.Images;

/// <summary>Every limit of an image, checked when it is written and again when it is read. The kernel's own maxima where it has them.</summary>
public static class ImageLimits
{
    /// <summary>Pages in a page store, found by a page map. The newest version that this program reads.</summary>
    public const uint FormatVersion = 2;

    /// <summary>Pages in a page file of the image's own; written by a store that has no page store.</summary>
    public const uint PageFileVersion = 1;

    /// <summary>It is held in memory while its image is open.</summary>
    public const ulong MaxPageMapBytes = 1UL << 30;

    public const int MaxManifestBytes = 64 * 1024 * 1024;

    /// <summary>Segments that we write. A reader takes any power of two from a page up to <see cref="MaxSegmentBytes"/>.</summary>
    public const int SegmentBytes = 1024 * 1024;

    public const int MaxSegmentBytes = 16 * 1024 * 1024;

    public const ulong MaxPageBlobBytes = 1UL << 40;

    public const int MaxNameLength = 128;

    public const int MaxProcesses = 1;

    public const int MaxThreads = 32_768;

    public const int MaxMappings = 262_144;

    /// <summary>fs.nr_open's own default.</summary>
    public const int MaxDescriptors = 1_048_576;

    public const int MaxFiles = 262_144;

    public const int MaxSharedMemoryObjects = 65_536;

    public const ulong MaxSharedMemoryBytes = 1UL << 44;

    /// <summary>PATH_MAX, with its NUL.</summary>
    public const int MaxPathBytes = 4096;

    /// <summary>PID_MAX_LIMIT.</summary>
    public const uint MaxPid = 4_194_304;

    /// <summary>struct user_regs_struct.</summary>
    public const int RegistersBytes = 216;

    /// <summary>Legacy area and header of an XSAVE image.</summary>
    public const int MinXstateBytes = 576;

    /// <summary>Room for AMX tiles (11 KiB today) and what follows.</summary>
    public const int MaxXstateBytes = 64 * 1024;

    public const int SigInfoBytes = 128;

    public const int MaxPendingSignals = 16_384;

    public const int MaxSignal = 64;

    public const int MaxPosixTimers = 65_536;

    /// <summary>RLIM_NLIMITS.</summary>
    public const int ResourceLimitCount = 16;

    /// <summary>AT_VECTOR_SIZE is well below.</summary>
    public const int MaxAuxvBytes = 4096;

    /// <summary>NGROUPS_MAX.</summary>
    public const int MaxGroups = 65_536;

    public const int MaxPipes = 65_536;

    /// <summary>A pipe may be made larger than fs.pipe-max-size by root; more than this is refused at the freeze.</summary>
    public const int MaxPipeBytes = 16 * 1024 * 1024;

    /// <summary>sizeof(sun_path).</summary>
    public const int MaxSunPathBytes = 108;

    public const int MaxSocketOptionBytes = 4096;

    public const int MaxQueuedBytes = 16 * 1024 * 1024;

    /// <summary>cpu_set_t for 32,768 processors.</summary>
    public const int MaxAffinityBytes = 4096;

    /// <summary>Pages from zero to the end of the user address space.</summary>
    public const ulong MaxMappingPages = PageSize.UserAddressLimit / PageSize.Bytes;

    /// <summary>A hundred years: the kernel takes no clock beyond half of its range (292 years).</summary>
    public const long MaxClockNanoseconds = 100L * 365 * 24 * 3600 * 1_000_000_000;

    /// <summary>Ranges of each kind in a working set.</summary>
    public const int MaxWorkingSetRanges = 65_536;
}
