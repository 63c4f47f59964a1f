using Snapshots.AddressSpace;
using Snapshots.Images.V1;

namespace Snapshots.Images.Validation;

/// <summary>Extents ascend, do not overlap, and stay inside their object and the page space.</summary>
internal static class ExtentRules
{
    public static void Check(IEnumerable<PageExtent> extents, ulong objectPages, PageBlob blob, string part, Rule rule)
    {
        var blobPages = blob.LengthBytes / PageSize.Bytes;
        ulong next = 0;
        foreach (var extent in extents)
        {
            rule.Require(extent.PageCount > 0 && extent.PageIndex >= next, part, "its extents must ascend and hold pages");
            // Subtractions on the checked side, so that nothing can wrap around.
            rule.Require(extent.PageIndex <= objectPages && extent.PageCount <= objectPages - extent.PageIndex, part, "an extent reaches beyond its end");
            rule.Require(extent.BlobOffset % PageSize.Bytes == 0, part, "an extent does not begin at a page of the page space");
            var firstPage = extent.BlobOffset / PageSize.Bytes;
            rule.Require(firstPage <= blobPages && extent.PageCount <= blobPages - firstPage, part, "an extent reaches beyond the page space");
            next = extent.PageIndex + extent.PageCount;
        }
    }
}
