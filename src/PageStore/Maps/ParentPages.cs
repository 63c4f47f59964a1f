using Snapshots.Images;
using Snapshots.PageStore.Domains;

namespace Snapshots.PageStore.Maps;

/// <summary>The pages of the image that a layer is made of: the layer's page map points at them where they are stored. Not thread-safe.</summary>
internal sealed class ParentPages(PageMap parent)
{
    private readonly PageMapIndex _index = new(parent);
    private readonly Dictionary<int, int> _numbers = [];

    /// <summary>The next pages of the new image are pages of the parent.</summary>
    public void AddTo(PageMapBuilder map, KnownPages known, TakenPages taken)
    {
        var page = (long)(taken.ParentOffset / PageStoreLimits.PageBytes);
        for (var left = (long)taken.PageCount; left > 0;)
        {
            var run = _index.RunAt(page);
            var count = (int)Math.Min(left, run.PageCount);
            map.Add(new PageRun(count, NumberOf(known, run.Pack), run.FirstPage));
            page += count;
            left -= count;
        }
    }

    private int NumberOf(KnownPages known, int pack)
    {
        if (!_numbers.TryGetValue(pack, out var number))
            _numbers.Add(pack, number = known.AddClaimedPack(parent.Packs[pack]));
        return number;
    }
}
