using Snapshots.AddressSpace;

namespace Snapshots.PageStore;

/// <summary>Every limit of the page store, checked when it is written and again when it is read.</summary>
public static class PageStoreLimits
{
    public const int PageBytes = (int)PageSize.Bytes;

    /// <summary>
    /// What we write: 32 KiB of pages in a frame. Larger frames compress a few per cent better, smaller ones cost less when a single page is wanted;
    /// docs/page-store.md has the numbers.
    /// </summary>
    public const int PagesPerFrame = 8;

    /// <summary>What a reader takes.</summary>
    public const int MaxPagesPerFrame = 16;

    public const int MaxFrameBytes = MaxPagesPerFrame * PageBytes;

    /// <summary>A pack is closed when it holds so many: 256 MiB of pages, a multiple of every frame size.</summary>
    public const int PagesPerPack = 65_536;

    /// <summary>What a reader takes.</summary>
    public const int MaxPackPages = 1 << 20;

    public const int MaxPacksOfImage = 65_536;

    /// <summary>So many known pages are compared with when an image is made (about 60 bytes of memory each); what is beyond is stored again.</summary>
    public const int MaxKnownPages = 1 << 25;

    /// <summary>Frames that a reader keeps decompressed.</summary>
    public const int CachedFrames = 64;

    /// <summary>Stored bytes that a reader fetches at once.</summary>
    public const int FetchBytes = 1 << 20;

    /// <summary>A writer's list of the packs that it counts on.</summary>
    public const int MaxPinBytes = 16 << 20;
}
