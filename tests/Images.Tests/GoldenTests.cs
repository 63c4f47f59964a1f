using Xunit;

namespace Snapshots.Images.Tests;

/// <summary>Images that older versions of this program wrote stay readable: Golden/ holds them as they were written, and is never written again.</summary>
public sealed class GoldenTests
{
    private const int Page = 4096;

    [Fact]
    public void Version_1_is_read()
    {
        using var store = new TestStore();
        foreach (var file in Directory.GetFiles(Golden("version-1"), "*", SearchOption.AllDirectories))
            File.Copy(file, Path.Combine(store.Root, Path.GetRelativePath(Golden("version-1"), file)));
        using var image = store.Store.OpenImage("golden");
        Assert.Equal("sha256:badec3ac14c882df044ed6e0ef8b4870ba838369f9edfb3ddc3cfb3c8d312048", image.Digest.ToString());
        Assert.Equal((1u, 1_700_000_000_000, "golden"), (image.Manifest.FormatVersion, image.Manifest.CreatedUnixMs, image.Manifest.Processes[0].Hostname));
        var extents = image.Manifest.Processes[0].Mappings[0].Extents;
        Assert.Equal([(0ul, 2ul, 0ul), (4ul, 3ul, 2ul * Page)], extents.Select(extent => (extent.PageIndex, extent.PageCount, extent.BlobOffset)));
        foreach (var extent in extents)
        {
            var pages = new byte[extent.PageCount * Page];
            image.Pages.Read(extent.BlobOffset, pages);
            Assert.Equal(Expected((int)extent.PageIndex * Page, pages.Length), pages);
        }
    }

    private static byte[] Expected(int from, int length) =>
        [.. Enumerable.Range(from, length).Select(i => (byte)((i / Page * 37) + (i % 251)))];

    private static string Golden(string version) => Path.Combine(AppContext.BaseDirectory, "Golden", version);
}
