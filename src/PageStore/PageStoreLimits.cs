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

    /// <summary>Stored bytes that a check of a pack fetches at once.</summary>
    public const int CheckBytes = 4 << 20;

    /// <summary>A writer's list of the packs that it counts on.</summary>
    public const int MaxPinBytes = 16 << 20;

    /// <summary>STORE/packs.json.</summary>
    public const int MaxPlacementBytes = 64 << 10;

    /// <summary>A prefix in a bucket; keys may have 1024 bytes, and ours go on for about 150.</summary>
    public const int MaxPrefixLength = 512;

    /// <summary>
    /// What the disk cache keeps, checks and fetches: ranges so long, aligned in their object. What is fetched is rounded to them at both ends, which is much
    /// when single pages are wanted; for long reads they make no difference. docs/page-store.md has the numbers.
    /// </summary>
    public const int CacheBlockBytes = 4 << 10;

    /// <summary>Blocks that lie in one file of the cache: 1 MiB.</summary>
    public const int BlocksPerCacheFile = 256;

    /// <summary>Below, one image would drive its own blocks out.</summary>
    public const long MinCacheBytes = 16L << 20;

    public const long DefaultCacheBytes = 10L << 30;

    public const long MaxCacheBytes = 1L << 50;

    /// <summary>What one ranged request asks for at most; more is fetched by several at once.</summary>
    public const int RemoteRangeBytes = 1 << 20;

    /// <summary>Requests of one process that a storage answers at the same time.</summary>
    public const int RemoteRequestsAtOnce = 16;

    /// <summary>Who has read so many bytes of an object one after the other will want the next ones too.</summary>
    public const int ReadAheadAfterBytes = 1 << 20;

    /// <summary>And is fetched half of what was read, up to this: 5 ms at 10 Gbit/s are 6 MB.</summary>
    public const int MaxReadAheadBytes = 8 << 20;

    /// <summary>Objects up to this length are stored by one request, longer ones in parts of it.</summary>
    public const int RemotePartBytes = 16 << 20;

    /// <summary>Parts of one object that are under way at the same time; each is read from its file as it goes.</summary>
    public const int RemotePartsAtOnce = 4;

    /// <summary>Packs of a remote storage that are opened at the same time.</summary>
    public const int PacksOpenedAtOnce = 16;

    /// <summary>What a page map is fetched with when it is opened.</summary>
    public const int MaxFirstBytes = 64 << 10;
}
