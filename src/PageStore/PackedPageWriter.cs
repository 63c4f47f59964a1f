using System.Security.Cryptography;
using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.PageStore.Domains;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore;

/// <summary>
/// Stores the pages of one image.
/// <code>
/// 1. Take a pin; begin to read which pages the domain has. Meanwhile the caller gathers pages.
/// 2. For each segment, on the gatherer's thread: hash its pages; those that are known become runs of the page map (their pack is claimed at the
///    first use), the others fill frames of a new pack, in the order in which they came. Full frames are compressed side by side and written.
/// 3. Finish: last frame, tables, header, page map; all of it on disk, in incoming/. Packs of a remote storage are claimed and stored there.
/// 4. Publish, under the store's lock: rename packs, then the map (of a remote storage: store the map). The manifest follows. Then the pin may go.
/// </code>
/// Memory: the gatherer's buffers, one segment of frames, and about 60 bytes for each page that the domain has. Not thread-safe.
/// </summary>
internal sealed class PackedPageWriter : IPageWriter
{
    private const int FrameBytes = PageStoreLimits.PagesPerFrame * PageStoreLimits.PageBytes;
    private const int SegmentPages = ImageLimits.SegmentBytes / PageStoreLimits.PageBytes;
    private const int PagesHashedTogether = 32;

    private readonly DedupDomain _domain;
    private readonly Pin _pin;
    private readonly Task<KnownPages> _known;
    private readonly PageMapBuilder _map = new();
    private readonly ParentPages? _parent;
    private readonly PageGatherer _gatherer;
    private readonly Sha256Value[] _digests = new Sha256Value[SegmentPages];
    private readonly List<PendingFrame> _frames = [];
    private readonly List<(Sha256Value Id, string Path)> _packs = [];
    private PackBuilder? _pack;
    private int _packNumber;
    private int _frameCount;
    private (Sha256Value Digest, string Path) _mapFile;
    private readonly bool _alone;
    private bool _storesPacks;
    private bool _published;

    /// <param name="pin">New; becomes the writer's.</param>
    /// <param name="alone">Store every page, as if the domain were empty: for images that leave the store.</param>
    /// <param name="parent">Pages that a layer takes over: all their packs are claimed by the pin.</param>
    public PackedPageWriter(DedupDomain domain, Pin pin, bool alone = false, ParentPages? parent = null)
    {
        _domain = domain;
        _pin = pin;
        _alone = alone;
        _parent = parent;
        _known = alone ? Task.FromResult(KnownPages.None(domain, pin)) : Task.Run(() => KnownPages.Load(domain, pin));
        _gatherer = new PageGatherer(domain.Root, StoreSegment);
    }

    /// <summary>Once finished: where the page map lies, and the packs in the order in which it first needs them when no page was known before.</summary>
    public (string Map, IReadOnlyList<string> Packs) Files => (_mapFile.Path, [.. _packs.Select(pack => pack.Path)]);

    public void Append(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents) => _gatherer.Append(pageIndex, pages, extents);

    public void AppendWithZeros(ulong pageIndex, ReadOnlySpan<byte> pages, IList<PageExtent> extents) => _gatherer.AppendWithZeros(pageIndex, pages, extents);

    public void AppendFromParent(ulong pageIndex, ulong pageCount, ulong parentOffset, IList<PageExtent> extents)
    {
        if (_parent is null)
            throw new InvalidOperationException("this image has no parent in packs");
        _gatherer.AppendFromParent(pageIndex, pageCount, parentOffset, extents);
    }

    public void Prepare(ulong bytes) => _gatherer.Prepare(bytes);

    public PageBlob Finish()
    {
        _gatherer.Finish();
        try
        {
            if (_pack is not null)
                CompletePack();
            var map = _map.Build(_known.GetAwaiter().GetResult().IdOf).Encode();
            _mapFile = (Sha256Value.Of(map), _pin.NewFilePath());
            using (var file = File.OpenHandle(_mapFile.Path, FileMode.CreateNew, FileAccess.Write))
            {
                RandomAccess.Write(file, map, 0);
                RandomAccess.FlushToDisk(file);
            }
            if (!_alone && _domain.Storage.IsRemote)
                StorePacks();
            var digest = ByteString.CopyFrom(SHA256.HashData(map));
            return new PageBlob { LengthBytes = _gatherer.LengthBytes, Map = new PageMapReference { Sha256 = digest, LengthBytes = (ulong)map.Length, Domain = _domain.Name } };
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{_domain.Root}: {cause.Message}; free space on that file system and create the snapshot again", cause);
        }
    }

    public void Publish()
    {
        if (!_domain.Storage.IsRemote)
            _packs.ForEach(pack => PublishPack(pack.Id, pack.Path));
        _domain.Storage.PutIfAbsent(MapNames.Of(_mapFile.Digest), _mapFile.Path);
        _published = true;
    }

    public void Dispose()
    {
        _gatherer.Dispose();
        _pack?.Dispose();
        try
        {
            // Failed or not, it must not claim packs after the pin is gone.
            _known.Wait();
        }
        catch (AggregateException)
        {
            // Finish has told.
        }
        if (_pack is not null)
            File.Delete(_pack.FilePath);
        _packs.ForEach(pack => File.Delete(pack.Path));
        if (_mapFile.Path is { } map)
            File.Delete(map);
        if (_storesPacks && !_published)
            _pin.Abandon();
        _pin.Dispose();
    }

    // Another writer may have stored the same pages at the same time, and a collection may have dropped frames of that since.
    private void PublishPack(Sha256Value id, string path)
    {
        if (!PackCatalogue.Read(_domain.Storage).Newest.TryGetValue(id, out var other))
        {
            _domain.Storage.PutIfAbsent(new PackName(id, 0).ObjectName, path);
            return;
        }
        _domain.Storage.PutIfAbsent((other.Name with { Generation = other.Name.Generation + 1 }).ObjectName, path);
        _domain.Storage.Delete(other.Name.ObjectName);
    }

    // To a remote storage, where that takes long: before the lock is taken, since a pack that is claimed is neither deleted nor replaced. Until the image has its
    // name nothing reaches them; if it never gets one, the next who opens the store collects them.
    private void StorePacks()
    {
        _storesPacks = true;
        foreach (var (id, path) in _packs)
        {
            var there = _domain.ClaimOwn(_pin, id);
            if (there is { } other && IsWhole(other))
                File.Delete(path);
            else
                _domain.Storage.PutIfAbsent(new PackName(id, there is { } thinned ? thinned.Generation + 1 : 0).ObjectName, path);
        }
    }

    private bool IsWhole(PackName name)
    {
        using var pack = _domain.TryOpenReadable(name);
        return pack is not null && !pack.Frames.Any(frame => frame.IsDropped);
    }

    private void StoreSegment(ReadOnlyMemory<byte> segment, IReadOnlyList<TakenPages> taken)
    {
        var pageCount = segment.Length / PageStoreLimits.PageBytes;
        HashPages(segment, pageCount);
        var known = _known.GetAwaiter().GetResult();
        var next = 0;
        for (var page = 0; page < pageCount; page++)
        {
            for (; next < taken.Count && taken[next].BeforePage == page; next++)
                _parent!.AddTo(_map, known, taken[next]);
            if (!known.TryUse(_digests[page], out var location))
            {
                location = StorePage(known, segment.Span.Slice(page * PageStoreLimits.PageBytes, PageStoreLimits.PageBytes), _digests[page]);
                known.Add(_digests[page], location);
            }
            _map.Add(location.Pack, location.Page);
        }
        for (; next < taken.Count; next++)
            _parent!.AddTo(_map, known, taken[next]);
        WriteFullFrames();
    }

    private void HashPages(ReadOnlyMemory<byte> segment, int pageCount) =>
        Parallel.For(0, (pageCount + PagesHashedTogether - 1) / PagesHashedTogether, group =>
        {
            var span = segment.Span;
            for (var page = group * PagesHashedTogether; page < Math.Min(pageCount, (group + 1) * PagesHashedTogether); page++)
                _digests[page] = Sha256Value.Of(span.Slice(page * PageStoreLimits.PageBytes, PageStoreLimits.PageBytes));
        });

    private PageLocation StorePage(KnownPages known, ReadOnlySpan<byte> contents, Sha256Value digest)
    {
        if (_pack?.PageCount == PageStoreLimits.PagesPerPack)
            CompletePack();
        if (_pack is null)
        {
            _pack = new PackBuilder(_pin.NewFilePath(), PageStoreLimits.PagesPerFrame);
            _packNumber = known.AddOwnPack();
        }
        if (_frameCount == 0 || _frames[_frameCount - 1].Length == FrameBytes)
        {
            if (_frameCount == _frames.Count)
                _frames.Add(new PendingFrame());
            _frames[_frameCount++].Length = 0;
        }
        var frame = _frames[_frameCount - 1];
        contents.CopyTo(frame.Raw.AsSpan(frame.Length));
        frame.Length += contents.Length;
        _pack.AddPage(digest);
        return new PageLocation(_packNumber, _pack.PageCount - 1);
    }

    private void WriteFullFrames()
    {
        var full = _frameCount > 0 && _frames[_frameCount - 1].Length < FrameBytes ? _frameCount - 1 : _frameCount;
        WriteFrames(full);
        if (full < _frameCount)
            (_frames[0], _frames[full]) = (_frames[full], _frames[0]);
        _frameCount -= full;
    }

    private void WriteFrames(int count)
    {
        Parallel.For(0, count, i => _frames[i].Compress());
        for (var i = 0; i < count; i++)
            _pack!.AddFrame(_frames[i].Stored.AsSpan(0, _frames[i].StoredLength), _frames[i].Checksum);
    }

    private void CompletePack()
    {
        WriteFrames(_frameCount);
        _frameCount = 0;
        var header = _pack!.Complete();
        _packs.Add((header.Id, _pack.FilePath));
        _known.Result.SetId(_packNumber, header.Id);
        _pack.Dispose();
        _pack = null;
    }

    private sealed class PendingFrame
    {
        public byte[] Raw { get; } = GC.AllocateUninitializedArray<byte>(FrameBytes);

        public byte[] Stored { get; } = GC.AllocateUninitializedArray<byte>(FrameBytes);

        public int Length { get; set; }

        public int StoredLength { get; private set; }

        public UInt128 Checksum { get; private set; }

        public void Compress()
        {
            StoredLength = FrameCodec.Compress(Raw.AsSpan(0, Length), Stored);
            Checksum = FrameCodec.Checksum(Stored.AsSpan(0, StoredLength));
        }
    }
}
