using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Cli.Json;
using Snapshots.Images.V1;

namespace Snapshots.Cli;

/// <summary>A working set as <c>inspect --working-set</c> shows it.</summary>
internal static class WorkingSetDescription
{
    public static WorkingSetDetails Of(WorkingSet set, Manifest manifest)
    {
        var mappings = manifest.Processes[0].Mappings;
        return new WorkingSetDetails(
            set.Clones,
            DateTimeOffset.FromUnixTimeMilliseconds(set.RecordedUnixMs),
            BytesOf(set.Written),
            BytesOf(set.FilePages),
            BytesOf(set.Read),
            [.. set.Written.Select(range => Describe(range, "written", mappings)), .. set.FilePages.Select(range => Describe(range, "file", mappings)), .. set.Read.Select(range => Describe(range, "read", mappings))]);
    }

    private static WorkingSetRange Describe(PageRange range, string kind, IEnumerable<Mapping> mappings) => new(
        Hex(range.Start),
        Hex(range.Start + (range.PageCount * PageSize.Bytes)),
        kind,
        range.PageCount * PageSize.Bytes,
        mappings.FirstOrDefault(mapping => mapping.Start <= range.Start && range.Start < mapping.End)?.Label ?? string.Empty);

    private static ulong BytesOf(IEnumerable<PageRange> ranges) => ranges.Aggregate(0UL, (sum, range) => sum + (range.PageCount * PageSize.Bytes));

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
