using Snapshots.Images;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Maintenance;

/// <summary>What a look at every byte of a pack found.</summary>
/// <param name="PagesPerFrame">1 when the header cannot be read.</param>
/// <param name="Problem">Why no frame of it can be used; null when that is not so.</param>
/// <param name="BadFrames">Frames that do not hold what they should.</param>
internal sealed record PackCheck(DedupDomain Domain, PackName Name, long Bytes, int Pages, int PagesPerFrame, ImageException? Problem, IReadOnlyDictionary<int, ImageException> BadFrames)
{
    public string Location => Domain.Storage.LocationOf(Name.ObjectName);

    public bool IsGood => Problem is null && BadFrames.Count == 0;

    /// <summary>What stands against reading these pages; null when nothing does.</summary>
    public ImageException? DamageOf(PageRun run)
    {
        if (IsGood)
            return null;
        if (Problem is not null)
            return Problem;
        var last = (run.FirstPage + run.PageCount - 1) / PagesPerFrame;
        return BadFrames.Where(bad => bad.Key >= run.FirstPage / PagesPerFrame && bad.Key <= last).Select(bad => bad.Value).FirstOrDefault();
    }

    /// <summary>Reads and decompresses every frame, and compares the SHA-256 of every page with the page table.</summary>
    public static PackCheck Run(DedupDomain domain, PackName name, long bytes)
    {
        try
        {
            // That very writing, as its storage has it; another only when it has been replaced since it was listed.
            using var pack = DedupDomain.TryOpen(domain.Storage.Uncached, name) ?? domain.OpenPacks([name.Id])[0];
            return new PackCheck(domain, name, bytes, pack.Header.PageCount, pack.Header.PagesPerFrame, null, FindBadFrames(pack));
        }
        catch (ImageException problem)
        {
            return new PackCheck(domain, name, bytes, 0, 1, problem, new Dictionary<int, ImageException>());
        }
    }

    /// <summary>Every frame that is there and does not hold the pages that the page table says.</summary>
    /// <exception cref="ImageException">The page table is damaged.</exception>
    public static Dictionary<int, ImageException> FindBadFrames(PackFile pack)
    {
        var bad = new Dictionary<int, ImageException>();
        var table = pack.ReadPageTable();
        var buffer = new byte[PageStoreLimits.CheckBytes];
        var raw = new byte[PageStoreLimits.MaxFrameBytes];
        for (int first = 0, end; first < pack.Header.FrameCount; first = end)
        {
            // Many at a time: to a remote storage each read is a question.
            var stored = pack.Frames[first].StoredBytes;
            for (end = first + 1; end < pack.Header.FrameCount && stored + pack.Frames[end].StoredBytes <= buffer.Length; end++)
                stored += pack.Frames[end].StoredBytes;
            CheckFrames(pack, first, end, table, buffer.AsSpan(0, stored), raw, bad);
        }
        return bad;
    }

    private static void CheckFrames(PackFile pack, int first, int end, byte[] table, Span<byte> stored, byte[] raw, Dictionary<int, ImageException> bad)
    {
        ImageException? unreadable = null;
        try
        {
            pack.ReadStored(first, stored);
        }
        catch (ImageException problem)
        {
            unreadable = problem;
        }
        for (var frame = first; frame < end; frame++)
        {
            var bytes = stored[..pack.Frames[frame].StoredBytes];
            stored = stored[bytes.Length..];
            if (pack.Frames[frame].IsDropped)
                continue;
            try
            {
                // Alone, when they cannot be read together: some of them may be.
                if (unreadable is not null)
                    pack.ReadStored(frame, bytes);
                CheckFrame(pack, frame, table, bytes, raw);
            }
            catch (ImageException problem)
            {
                bad.Add(frame, problem);
            }
        }
    }

    private static void CheckFrame(PackFile pack, int frame, byte[] table, Span<byte> stored, byte[] raw)
    {
        var pages = raw.AsSpan(0, pack.Header.RawBytesOf(frame));
        pack.Unpack(frame, stored, pages);
        for (var slot = 0; slot < pack.Header.PagesOf(frame); slot++)
        {
            var page = (frame * pack.Header.PagesPerFrame) + slot;
            if (Sha256Value.Of(pages.Slice(slot * PageStoreLimits.PageBytes, PageStoreLimits.PageBytes)) != Sha256Value.Read(table.AsSpan(page * Sha256Value.Bytes)))
                throw new ImageException(ImageFailure.DigestMismatch, $"{pack.Location}: page {page} in frame {frame} is not what its SHA-256 says");
        }
    }
}
