namespace Snapshots.RestorePool.ForkDetection;

/// <summary>What of a library is changed so that it takes a clone for the child of a fork.</summary>
internal enum ForkDetectionKind
{
    /// <summary>The word through which it calls getpid(2), filled by the loader.</summary>
    AddressWord,

    /// <summary>The function by which it asks, in place of which another runs.</summary>
    Function,
}

/// <summary>A place in a file.</summary>
/// <param name="FileBytes">What the file holds there: as many bytes as would be changed.</param>
internal sealed record ForkDetectionSite(ForkDetectionKind Kind, ulong FileOffset, byte[] FileBytes);
