namespace Snapshots.PageStore.Maps;

/// <summary>Gathers the runs of a page map while pages are stored. Packs may be named before their identity is known. Not thread-safe.</summary>
internal sealed class PageMapBuilder
{
    private readonly List<PageRun> _runs = [];

    /// <summary>The next page of the page space is this page of that pack, counted as the caller likes.</summary>
    public void Add(int pack, int page)
    {
        if (_runs.Count > 0 && _runs[^1] is var last && last.Pack == pack && last.FirstPage + last.PageCount == page)
            _runs[^1] = last with { PageCount = last.PageCount + 1 };
        else
            _runs.Add(new PageRun(1, pack, page));
    }

    /// <param name="idOf">The identity of a pack by the caller's count.</param>
    public PageMap Build(Func<int, Sha256Value> idOf)
    {
        var numbers = new Dictionary<int, int>();
        var packs = new List<Sha256Value>();
        var runs = new PageRun[_runs.Count];
        for (var i = 0; i < runs.Length; i++)
        {
            var run = _runs[i];
            if (!numbers.TryGetValue(run.Pack, out var number))
            {
                number = packs.Count;
                numbers.Add(run.Pack, number);
                packs.Add(idOf(run.Pack));
            }
            runs[i] = run with { Pack = number };
        }
        return new PageMap(packs, runs);
    }
}
