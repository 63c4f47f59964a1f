using System.Numerics;
using System.Security.Cryptography;
using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images.Validation;

/// <summary>
/// Every rule of the format that the restore relies on: who holds a validated manifest may index, slice and map by its numbers without asking again.
/// Run when an image is written and when it is read.
/// </summary>
public static class ManifestValidator
{
    /// <param name="source">File or name for messages.</param>
    /// <exception cref="ImageException">UnsupportedVersion, Malformed, LimitExceeded.</exception>
    public static void Validate(Manifest manifest, string source)
    {
        var rule = new Rule(source);
        CheckVersion(manifest, source);
        rule.Require(manifest.Pages is not null, "pages", "they must be described");
        if (manifest.Pages!.Map is { } map)
            CheckPageMap(manifest, map, rule);
        else
            CheckPageFile(manifest.Pages, rule);
        CheckFiles(manifest, rule);
        if (manifest.Clocks is { } clocks)
            rule.Require(clocks.MonotonicNs is >= 0 and <= ImageLimits.MaxClockNanoseconds && clocks.BoottimeNs is >= 0 and <= ImageLimits.MaxClockNanoseconds, "clocks", "must be a time since a boot");
        if (manifest.Layer is { } layer)
        {
            rule.Require(layer.ParentSha256.Length == SHA256.HashSizeInBytes, "layer.parent_sha256", "must be a SHA-256");
            rule.Require(layer.ParentName.Length == 0 || ImageStore.IsValidName(layer.ParentName), "layer.parent_name", "must be a name");
        }
        var sharedMemory = CheckSharedMemory(manifest, rule);
        rule.Limit(manifest.Processes.Count, ImageLimits.MaxProcesses, "processes");
        rule.Require(manifest.Processes.Count > 0, "processes", "there must be one");
        foreach (var process in manifest.Processes)
            ProcessRules.Check(process, manifest, sharedMemory, rule);
    }

    private static void CheckVersion(Manifest manifest, string source)
    {
        if (manifest.FormatVersion > ImageLimits.FormatVersion)
            throw new ImageException(ImageFailure.UnsupportedVersion,
                $"{source}: has format version {manifest.FormatVersion}, this program reads up to {ImageLimits.FormatVersion}; use a newer version of it");
        if (manifest.FormatVersion == 0)
            throw new ImageException(ImageFailure.Malformed, $"{source}: has no format version; it is no manifest");
    }

    private static void CheckLength(PageBlob pages, Rule rule) =>
        rule.Require(pages.LengthBytes <= ImageLimits.MaxPageBlobBytes && pages.LengthBytes % PageSize.Bytes == 0, "pages.length_bytes", "must be whole pages within the limit");

    private static void CheckPageMap(Manifest manifest, PageMapReference map, Rule rule)
    {
        CheckLength(manifest.Pages, rule);
        rule.Require(manifest.FormatVersion > ImageLimits.PageFileVersion, "pages.map", "there is none in version 1");
        rule.Require(manifest.Pages.Sha256.IsEmpty && manifest.Pages.SegmentBytes == 0 && manifest.Pages.SegmentSha256.Count == 0, "pages", "are in a page file or in packs, not both");
        rule.Require(map.Sha256.Length == SHA256.HashSizeInBytes, "pages.map.sha256", "must be a SHA-256");
        rule.Require(map.LengthBytes <= ImageLimits.MaxPageMapBytes, "pages.map.length_bytes", "must be within the limit");
        // It becomes part of a path.
        rule.Require(ImageStore.IsValidName(map.Domain), "pages.map.domain", "must be a name");
    }

    private static void CheckPageFile(PageBlob blob, Rule rule)
    {
        CheckLength(blob, rule);
        rule.Require(blob.Sha256.Length == SHA256.HashSizeInBytes, "pages.sha256", "must be a SHA-256");
        rule.Require(blob.SegmentBytes >= PageSize.Bytes && blob.SegmentBytes <= ImageLimits.MaxSegmentBytes && BitOperations.IsPow2(blob.SegmentBytes),
            "pages.segment_bytes", "must be a power of two from a page up");
        var segments = (blob.LengthBytes + blob.SegmentBytes - 1) / blob.SegmentBytes;
        rule.Require((ulong)blob.SegmentSha256.Count == segments, "pages.segment_sha256", $"there must be {segments}, one for each segment");
        foreach (var digest in blob.SegmentSha256)
            rule.Require(digest.Length == SHA256.HashSizeInBytes, "pages.segment_sha256", "must be SHA-256s");
    }

    private static void CheckFiles(Manifest manifest, Rule rule)
    {
        rule.Limit(manifest.Files.Count, ImageLimits.MaxFiles, "files");
        foreach (var file in manifest.Files)
            CheckPath(file.Path, $"file \"{file.Path}\"", rule);
    }

    /// <summary>Absolute, without NUL, no longer than the kernel takes.</summary>
    internal static void CheckPath(string path, string part, Rule rule)
    {
        rule.Require(path.StartsWith('/') && !path.Contains('\0', StringComparison.Ordinal), part, "must be an absolute path");
        rule.Limit(Encoding.UTF8.GetByteCount(path), ImageLimits.MaxPathBytes - 1, $"bytes in the path of {part}");
    }

    private static HashSet<uint> CheckSharedMemory(Manifest manifest, Rule rule)
    {
        rule.Limit(manifest.SharedMemory.Count, ImageLimits.MaxSharedMemoryObjects, "shared memory objects");
        var ids = new HashSet<uint>();
        foreach (var memory in manifest.SharedMemory)
        {
            var part = $"shared memory {memory.Id} \"{memory.Name}\"";
            rule.Require(memory.Id != 0 && ids.Add(memory.Id), part, "ids must differ and not be 0");
            rule.Require(memory.SizeBytes <= ImageLimits.MaxSharedMemoryBytes, part, "is larger than the limit");
            rule.Require(!memory.Name.Contains('\0', StringComparison.Ordinal), part, "a name cannot contain NUL");
            ExtentRules.Check(memory.Extents, (memory.SizeBytes + PageSize.Bytes - 1) / PageSize.Bytes, manifest.Pages, part, rule);
        }
        return ids;
    }
}
