using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Cli.Json;
using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.Cli;

/// <summary>A manifest as <c>inspect</c> shows it.</summary>
internal static class SnapshotDescription
{
    public static SnapshotDetails Of(SnapshotImage image, IReadOnlyList<string>? program)
    {
        var manifest = image.Manifest;
        return new SnapshotDetails(
            SnapshotRows.Describe(image.Name ?? image.Digest.ToString(), image.Digest, manifest),
            new HostDetails(manifest.Host.KernelRelease, manifest.Host.CpuFlags.Count, manifest.Host.XstateSizeBytes),
            manifest.Statistics.StoppedMicroseconds,
            manifest.Statistics.ColdStartReadyMicroseconds is > 0 and var ready ? ready : null,
            manifest.Launch?.WorkingDirectory,
            [.. manifest.Processes.Select(process => Describe(manifest, process))],
            [.. manifest.SharedMemory.Select(memory => new SharedMemoryDetails(memory.Id, memory.Name, memory.SizeBytes, StoredBytes(memory.Extents)))],
            program,
            SnapshotRemarks.Of(manifest));
    }

    private static ProcessDetails Describe(Manifest manifest, ProcessImage process) => new(
        process.Pid,
        process.Name,
        manifest.Files[(int)process.ExeFile].Path,
        process.WorkingDirectory,
        process.Hostname,
        [.. process.Threads.Select(thread => new ThreadDetails(thread.Tid, thread.Name, thread.StoppedIn, Hex(thread.SignalMask)))],
        [.. process.Mappings.Select(Describe)],
        [.. process.Descriptors.Select(descriptor => Describe(process, descriptor))]);

    private static MappingDetails Describe(Mapping mapping) => new(
        Hex(mapping.Start),
        Hex(mapping.End),
        Protection(mapping.Protection),
        KindName(mapping.Kind),
        SharingOf(mapping.Kind),
        mapping.End - mapping.Start,
        StoredBytes(mapping.Extents),
        mapping.Label);

    private static DescriptorDetails Describe(ProcessImage process, DescriptorEntry descriptor)
    {
        var file = process.OpenFiles.First(open => open.Id == descriptor.OpenFile);
        var kind = file.KindCase == OpenFile.KindOneofCase.External
            ? $"{file.External.Role.ToString().ToLowerInvariant()} (each clone's own)"
            : SnakeCase(file.KindCase.ToString());
        return new DescriptorDetails(descriptor.Fd, kind, file.Description, descriptor.CloseOnExec);
    }

    private static ulong StoredBytes(IEnumerable<PageExtent> extents) =>
        extents.Aggregate(0UL, (sum, extent) => sum + (extent.PageCount * PageSize.Bytes));

    private static string SharingOf(MappingKind kind) => kind switch
    {
        MappingKind.PrivateAnonymous or MappingKind.PrivateFile => "template",
        MappingKind.SharedFile or MappingKind.Vdso => "host",
        MappingKind.SharedMemory or MappingKind.PrivateSharedMemory => "own copy",
        _ => "unknown",
    };

    private static string KindName(MappingKind kind) => SnakeCase(kind.ToString());

    private static string SnakeCase(string name) =>
        string.Concat(name.Select((letter, index) => char.IsUpper(letter) && index > 0 ? "_" + char.ToLowerInvariant(letter) : char.ToLowerInvariant(letter).ToString()));

    private static string Protection(uint bits) => string.Create(3, bits, static (text, value) =>
    {
        text[0] = (value & 1) != 0 ? 'r' : '-';
        text[1] = (value & 2) != 0 ? 'w' : '-';
        text[2] = (value & 4) != 0 ? 'x' : '-';
    });

    private static string Hex(ulong value) => value.ToString("x", CultureInfo.InvariantCulture);
}
