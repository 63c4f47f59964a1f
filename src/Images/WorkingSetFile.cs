using System.Security.Cryptography;
using Google.Protobuf;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>
/// A working set as a file:
/// <code>
///   0x00 SHA-256 of what follows
///   0x20 protobuf, snapshots.images.v1.WorkingSet
/// </code>
/// </summary>
internal static class WorkingSetFile
{
    public const int MaxBytes = 4 << 20;

    public static byte[] Encode(WorkingSet set)
    {
        Check(set, "the working set");
        var contents = set.ToByteArray();
        return [.. SHA256.HashData(contents), .. contents];
    }

    /// <exception cref="ImageException">DigestMismatch, Malformed, LimitExceeded.</exception>
    public static WorkingSet Decode(ReadOnlySpan<byte> file, string path)
    {
        const string Cure = "remove the file: it is learned again from the next clones";
        if (file.Length < SHA256.HashSizeInBytes || !SHA256.HashData(file[SHA256.HashSizeInBytes..]).AsSpan().SequenceEqual(file[..SHA256.HashSizeInBytes]))
            throw new ImageException(ImageFailure.DigestMismatch, $"{path}: the working set is damaged (SHA-256 differs); {Cure}");
        try
        {
            var set = WorkingSet.Parser.ParseFrom(file[SHA256.HashSizeInBytes..]);
            Check(set, path);
            return set;
        }
        catch (InvalidProtocolBufferException cause)
        {
            throw new ImageException(ImageFailure.Malformed, $"{path}: is no working set: {cause.Message}; {Cure}", cause);
        }
    }

    private static void Check(WorkingSet set, string path)
    {
        foreach (var ranges in new[] { set.Written, set.FilePages, set.Read })
        {
            if (ranges.Count > ImageLimits.MaxWorkingSetRanges)
                throw new ImageException(ImageFailure.LimitExceeded, $"{path}: has {ranges.Count} ranges; at most {ImageLimits.MaxWorkingSetRanges} are allowed");
            ulong end = 0;
            foreach (var range in ranges)
            {
                // The read set is in the order of time.
                if ((range.Start < end && ranges != set.Read) || !IsWhole(range))
                    throw new ImageException(ImageFailure.Malformed, $"{path}: range {range.Start:x} of {range.PageCount} pages is not within the address space, in order, or whole pages");
                end = range.Start + (range.PageCount * PageSize.Bytes);
            }
        }
    }

    private static bool IsWhole(PageRange range) =>
        range.Start < PageSize.UserAddressLimit && range.Start % PageSize.Bytes == 0 && range.PageCount > 0 && range.PageCount <= (PageSize.UserAddressLimit - range.Start) / PageSize.Bytes;
}
