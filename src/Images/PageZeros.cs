using Snapshots.AddressSpace;

namespace Snapshots.Images;

/// <summary>Finds the pages that need not be stored.</summary>
internal static class PageZeros
{
    /// <summary>Number of pages at the start of <paramref name="pages"/> that are all zeros, or all not, as <paramref name="zero"/> says of the first.</summary>
    public static int RunLength(ReadOnlySpan<byte> pages, out bool zero)
    {
        const int Page = (int)PageSize.Bytes;
        zero = IsZero(pages[..Page]);
        var count = 1;
        while ((count + 1) * Page <= pages.Length && IsZero(pages.Slice(count * Page, Page)) == zero)
            count++;
        return count;
    }

    private static bool IsZero(ReadOnlySpan<byte> page) => !page.ContainsAnyExcept((byte)0);
}
