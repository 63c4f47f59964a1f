using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Elf;

namespace Snapshots.RestorePool.ForkDetection;

/// <summary>
/// Where in a snapshot's address space random generators ask for the process ID to notice forks, found in the symbol tables of the mapped files.
/// <code>
///   manifest ──► files with executable mappings ──► ElfFile ──► ForkDetectingImage: places in it ──► mappings ──► addresses
/// </code>
/// </summary>
/// <remarks>docs/random-numbers.md says what this covers and what it does not.</remarks>
public sealed class ForkDetectionPlan
{
    private const uint PROT_READ = 1;
    private const uint PROT_EXEC = 4;

    private readonly List<PlacedSite> _sites = [];
    private readonly List<string> _remarks = [];

    private ForkDetectionPlan()
    {
    }

    /// <summary>What clones may repeat each other's random numbers with, one sentence for each library; empty when all is well.</summary>
    public IReadOnlyList<string> Remarks => _remarks;

    /// <summary>Files whose generators are seeded anew in each clone.</summary>
    public IReadOnlyList<string> Covered => [.. _sites.Select(site => site.Path).Distinct()];

    /// <summary>Nothing in this snapshot is to be changed.</summary>
    public bool IsEmpty => _sites.Count == 0;

    internal IReadOnlyList<PlacedSite> Sites => _sites;

    /// <summary>Reads the mapped files as they are now; a file that is missing, changed or malformed becomes a remark.</summary>
    public static ForkDetectionPlan For(Manifest manifest)
    {
        var plan = new ForkDetectionPlan();
        foreach (var mappings in manifest.Processes[0].Mappings.Where(mapping => mapping.Kind == MappingKind.PrivateFile).GroupBy(mapping => mapping.File))
        {
            if (mappings.Any(IsExecutable))
                plan.AddFile(manifest.Files[(int)mappings.Key], [.. mappings]);
        }
        plan.AddDeletedLibraries(manifest.Processes[0]);
        return plan;
    }

    /// <summary>A library that was replaced on disk while the worker ran is in the image, but its symbols are not; its name is all there is to go by.</summary>
    private void AddDeletedLibraries(ProcessImage process)
    {
        var deleted = process.Mappings
            .Where(mapping => mapping.Kind == MappingKind.PrivateSharedMemory && IsExecutable(mapping) && mapping.Label.Contains("/libcrypto", StringComparison.Ordinal));
        foreach (var label in deleted.Select(mapping => mapping.Label).Distinct())
            Remark(label, "the worker runs a library that was replaced since it started");
    }

    private static bool IsExecutable(Mapping mapping) => (mapping.Protection & PROT_EXEC) != 0;

    private void AddFile(FileIdentity file, Mapping[] mappings)
    {
        try
        {
            var errno = FileStatus.At(file.Path, followLast: true, out var status);
            if (errno != Errno.None || !status.IsRegular || status.SizeBytes != file.SizeBytes || status.ModifiedNanoseconds != file.MtimeNs)
            {
                Remark(file.Path, "it is not on this host as the snapshot saw it");
                return;
            }
            if (InspectedFiles.Inspect(file.Path, status) is { } found)
                Add(file.Path, found, mappings);
        }
        catch (Exception exception) when (exception is ElfFormatException or LinuxException or IOException)
        {
            Remark(file.Path, exception.Message);
        }
    }

    private void Add(string path, ForkDetectingImage image, Mapping[] mappings)
    {
        if (image.Remark is { } remark)
            _remarks.Add(remark);
        foreach (var site in image.Sites)
        {
            var views = mappings.Where(mapping => IsIn(site, mapping)).ToList();
            if (views.Count == 0)
                Remark(path, "its code was moved away from where the file is mapped");
            foreach (var mapping in views)
                _sites.Add(new PlacedSite(path, new VirtualAddress(mapping.Start + (site.FileOffset - mapping.FileOffset)), site));
        }
    }

    /// <remarks>Loaders fill the holes between segments with inaccessible mappings of the same file, whose offsets name other segments' bytes.</remarks>
    private static bool IsIn(ForkDetectionSite site, Mapping mapping)
    {
        var end = site.FileOffset + (ulong)site.FileBytes.Length;
        return site.FileOffset >= mapping.FileOffset && end <= mapping.FileOffset + (mapping.End - mapping.Start)
            && (mapping.Protection & PROT_READ) != 0
            && (site.Kind != ForkDetectionKind.Function || IsExecutable(mapping));
    }

    private void Remark(string path, string reason) => _remarks.Add(string.Create(CultureInfo.InvariantCulture, $"{path}: {reason}"));
}

/// <summary>A site at its address; a library that is loaded twice has two.</summary>
internal sealed record PlacedSite(string Path, VirtualAddress Address, ForkDetectionSite Site);
