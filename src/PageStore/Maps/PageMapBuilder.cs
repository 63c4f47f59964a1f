namespace Snapshots.PageStore.Maps;

/// <summary>Gathers the runs of a page map while pages are stored. Packs may be named before their identity is known. Not thread-safe.</summary>
internal sealed class PageMapBuilder
{
    private readonly List<PageRun> _runs = [];

    /// <summary>The next page of the page space is this page of that pack, counted as the caller likes.</summary>
    public void Add(int pack, int page) => Add(new PageRun(1, pack, page));

    /// <summary>The next pages of the page space are these, of a pack counted as the caller likes.</summary>
    public void Add(PageRun next)
    {
        if (_runs.Count > 0 && _runs[^1] is var last && last.Pack == next.Pack && last.FirstPage + last.PageCount == next.FirstPage)
            _runs[^1] = last with { PageCount = last.PageCount + next.PageCount };
        else
            _runs.Add(next);
    }

    /// <param name="idOf">The identity of a pack by the caller's count; two numbers may be the same pack.</param>
    public PageMap Build(Func<int, Sha256Value> idOf)
    {
        var numbers = new Dictionary<Sha256Value, int>();
        var packs = new List<Sha256Value>();
        var runs = new PageRun[_runs.Count];
        for (var i = 0; i < runs.Length; i++)
        {
            var run = _runs[i];
            var id = idOf(run.Pack);
            if (!numbers.TryGetValue(id, out var number))
            {
                number = packs.Count;
                numbers.Add(id, number);
                packs.Add(id);
            }
            runs[i] = run with { Pack = number };
        }
        return new PageMap(packs, runs);
    }
}
