using CsCheck;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.RestorePool.Programs;
using Xunit;

namespace Snapshots.RestorePool.Tests;

public class StagingPlanTests
{
    private static readonly VirtualAddress Start = new(0x4000_0000_0000);

    /// <summary>Mappings of up to 6 MiB with gaps between them; of each a part of the pages is there.</summary>
    private static readonly Gen<ProcessImage> GenProcess =
        Gen.Select(Gen.Int[1, 600], Gen.Int[1, 1500], Gen.Int[0, 100], Gen.Bool).Array[0, 40].Select(parts =>
        {
            var process = new ProcessImage();
            var page = 0x5_5555_5555UL;
            foreach (var (gapPages, pages, filledPercent, noReserve) in parts)
            {
                page += (ulong)gapPages;
                var mapping = new Mapping { Start = page * PageSize.Bytes, End = (page + (ulong)pages) * PageSize.Bytes, Kind = MappingKind.PrivateAnonymous };
                if (pages * filledPercent / 100 is > 0 and var filled)
                    mapping.Extents.Add(new PageExtent { PageCount = (ulong)filled });
                if (noReserve)
                    mapping.VmFlags.Add("nr");
                process.Mappings.Add(mapping);
                page += (ulong)pages;
            }
            return process;
        });

    [Fact]
    public void Staged_mappings_lie_side_by_side_in_areas_of_their_kind() => GenProcess.Sample(process =>
    {
        var plan = StagingPlan.For(process);
        plan.Place(Start);
        var areas = plan.Areas.ToList();
        Assert.Equal(plan.LengthBytes, areas.Aggregate(0UL, (sum, area) => sum + area.Range.LengthBytes));
        var staged = process.Mappings.Where(mapping => plan.AddressOf(mapping) is not null)
            .Select(mapping => (Mapping: mapping, Range: AddressRange.FromLength(plan.AddressOf(mapping)!.Value, mapping.End - mapping.Start)))
            .OrderBy(pair => pair.Range.Start.Value).ToList();
        Assert.All(staged.Zip(staged.Skip(1)), pair => Assert.False(pair.First.Range.Overlaps(pair.Second.Range)));
        Assert.All(staged, pair => Assert.Contains(areas, area => area.Range.Contains(pair.Range) && area.NoReserve == pair.Mapping.VmFlags.Contains("nr")));
        Assert.All(plan.HugeBlocks(process), block => Assert.Contains(areas, area => area.Range.Contains(block)));
    });

    /// <summary>A block that is full at the mapping's own address is one huge page there, and stays one.</summary>
    [Fact]
    public void Full_blocks_keep_their_place_within_a_huge_page() => GenProcess.Sample(process =>
    {
        var plan = StagingPlan.For(process);
        plan.Place(Start);
        foreach (var mapping in process.Mappings.Where(mapping => mapping.Extents.Count > 0))
        {
            var filledEnd = mapping.Start + (mapping.Extents[0].PageCount * PageSize.Bytes);
            var block = (mapping.Start + PageSize.HugeBytes - 1) & ~(PageSize.HugeBytes - 1);
            if (block + PageSize.HugeBytes <= filledEnd)
                Assert.Equal(mapping.Start % PageSize.HugeBytes, plan.AddressOf(mapping)!.Value.Value % PageSize.HugeBytes);
        }
    });

    [Fact]
    public void Scattered_chunks_share_huge_pages()
    {
        var process = new ProcessImage();
        for (var i = 0UL; i < 80; i++)
        {
            var chunk = new Mapping { Start = 0x7000_0000_0000 + (i * 4 * PageSize.HugeBytes), Kind = MappingKind.PrivateAnonymous, Extents = { new PageExtent { PageCount = 64 } } };
            chunk.End = chunk.Start + (64 * PageSize.Bytes);
            process.Mappings.Add(chunk);
        }
        var plan = StagingPlan.For(process);
        Assert.Equal(10 * PageSize.HugeBytes, plan.LengthBytes);
        Assert.Equal(10 * PageSize.HugeBytes, plan.HugeBlocks(process).Aggregate(0UL, (sum, run) => sum + run.LengthBytes));
    }

    [Theory]
    [InlineData("gd")]
    [InlineData("nh")]
    [InlineData("wf")]
    public void Stacks_and_memory_with_wishes_of_its_own_stay_where_they_are(string flag)
    {
        var mapping = new Mapping { Start = 0x7000_0000_0000, End = 0x7000_0040_0000, Kind = MappingKind.PrivateAnonymous, VmFlags = { flag }, Extents = { new PageExtent { PageCount = 1024 } } };
        var process = new ProcessImage { Mappings = { mapping } };
        Assert.Null(StagingPlan.For(process).AddressOf(mapping));
    }
}
