using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Snapshots.Images;
using Snapshots.Linux.Proc;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Layers;
using Snapshots.RestorePool.Paging;
using Snapshots.RestorePool.WorkingSets;

namespace Snapshots.RestorePool.Templates;

/// <summary>The templates that are in memory: built by the first who asks, used by many at once, dropped when together they have too much memory.</summary>
/// <remarks>
/// <code>
/// 1. A use begins: the template is entered, built when it is not there, and counted as used until the use ends. That of a large snapshot is built
///    lazy; a complete one is built behind it and takes its place, and the lazy one ends with its last use.
/// 2. After a build, and whenever a use ends: while the templates exceed the budget, the one that was used longest ago goes, if nobody uses it.
///    The one that was used last stays, so a template larger than the budget works until another is needed.
/// 3. A template that died, or that somebody wants gone, is retired: the next use builds another, and it ends with its last use.
/// </code>
/// What a template has is measured once, when it is built: it runs no code, so it cannot grow. The template of a layer counts what it does not share
/// with its parent's, which stays as long as any of its layers: to drop it would free nothing that they share. The template that is being built comes on top
/// of the budget, since only a build that succeeded may cost another template its place. A lazy one counts for what it is going to have.
/// Thread-safe. The gate guards the table and the counts, and nothing slow happens under it: builds, forks, and the ends of templates with their
/// parked clones are done outside, so snapshots do not wait for one another. Templates that are out of the table are nobody's but their users'.
/// </remarks>
internal sealed class ResidentTemplates : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Resident> _byDigest = new(StringComparer.Ordinal);
    private readonly ParkingPool _parking;
    private readonly LayeredTemplates _builder;
    private readonly TemplateBuilder _lazyBuilder;
    private readonly TemplateFiller _filler;
    private readonly Lazy<PageServer> _pageServer = new(() => new PageServer());
    private readonly RestoreOptions _options;
    private readonly long _budgetBytes;
    private long _residentBytes;

    public ResidentTemplates(ParkingPool parking, RestoreOptions options)
    {
        _parking = parking;
        _options = options;
        _builder = new LayeredTemplates(options, UseForForks, Retire);
        _lazyBuilder = new TemplateBuilder(options);
        _filler = new TemplateFiller(Complete, options.FillFailed);
        _budgetBytes = options.TemplateMemoryBytes ?? long.MaxValue;
    }

    /// <summary>Begins a use. Waits for a build of this template, of no other.</summary>
    /// <exception cref="Exception">What opening the image or building the template threw; it is not remembered, the reason may be gone next time.</exception>
    public TemplateUse Use(TemplateSource source) => Use(source, forForks: false);

    /// <summary>For a template that is wanted as the parent of others: complete, and no clone of it is parked for that.</summary>
    private TemplateUse UseForForks(TemplateSource source) => Use(source, forForks: true);

    private TemplateUse Use(TemplateSource source, bool forForks)
    {
        var resident = Begin(source, mayBeLazy: !forForks);
        try
        {
            var built = resident.Build.Value;
            if (forForks && built.Template.Lazy is not null)
                _filler.WaitUntilFilled(source.Digest, CancellationToken.None);
            if (!forForks && resident.BeginToPark() && built.Template.Lazy is null)
                _parking.Open(built.Template);
            Trim();
            var used = BeginCurrent(resident);
            return new TemplateUse(used.Template, () =>
            {
                EndCurrent(used);
                End(resident);
            });
        }
        catch
        {
            Retire(resident);
            End(resident);
            throw;
        }
    }

    /// <summary>Waits until the template of a snapshot is complete.</summary>
    /// <exception cref="Exception">What building it threw.</exception>
    public void WaitUntilComplete(TemplateSource source, CancellationToken cancellation)
    {
        TemplateUse use;
        using (use = Use(source))
        {
            if (use.Template.Lazy is null)
                return;
        }
        _filler.WaitUntilFilled(source.Digest, cancellation);
    }

    /// <summary>Takes a template that died out of the table, unless another has its place already.</summary>
    public void Retire(Template dead)
    {
        if (Find(resident => resident.Current?.Template == dead, out var found))
            Retire(found);
    }

    /// <summary>Takes the template of a snapshot out of the table; it ends at once, or with its last use.</summary>
    public void Drop(string digest)
    {
        if (Find(resident => resident.Source.Digest == digest, out var found))
            Retire(found);
    }

    /// <summary>Templates that are built and alive. Reads their memory; holds up nobody.</summary>
    public IReadOnlyList<TemplateStatus> List()
    {
        List<(Resident Resident, Template Template, TimeSpan Idle, bool InUse, long Bytes)> built;
        lock (_gate)
            built = [.. _byDigest.Values.Where(one => one.Current is not null).Select(one => (one, one.Current!.Template, one.Idle, one.Uses > 0, one.Bytes))];
        var statuses = new List<TemplateStatus>(built.Count);
        foreach (var (resident, template, idle, inUse, bytes) in built)
        {
            var parked = _parking.PidsOf(template);
            // One that ends meanwhile is as good as one that had ended before.
            if (ProcessMemory.TryRead(template.Pid) is { } memory)
                statuses.Add(new TemplateStatus(resident.Source.Name, resident.Source.Digest, template.Pid, memory, parked, idle, inUse, template.ParentDigest?.ToString(), bytes) { IsFilling = template.Lazy is not null });
        }
        return statuses;
    }

    /// <summary>Ends all templates. Nobody may use one any more; clones that depend on the page server end too.</summary>
    public void Dispose()
    {
        List<Resident> left;
        lock (_gate)
            left = [.. _byDigest.Values];
        left.ForEach(Retire);
        _filler.Dispose();
        if (_pageServer.IsValueCreated)
            _pageServer.Value.Dispose();
    }

    private Resident Begin(TemplateSource source, bool mayBeLazy)
    {
        lock (_gate)
        {
            if (!_byDigest.TryGetValue(source.Digest, out var resident))
                _byDigest.Add(source.Digest, resident = new Resident(source, place => Build(place, mayBeLazy)));
            resident.Uses++;
            resident.LastUsed = Stopwatch.GetTimestamp();
            return resident;
        }
    }

    private void End(Resident resident)
    {
        bool last;
        lock (_gate)
        {
            resident.LastUsed = Stopwatch.GetTimestamp();
            last = --resident.Uses == 0 && resident.Retired;
        }
        if (last)
            Close(resident);
        else
            Trim();
    }

    private ResidentTemplate BeginCurrent(Resident resident)
    {
        lock (_gate)
        {
            var current = resident.Current!;
            current.Uses++;
            return current;
        }
    }

    private void EndCurrent(ResidentTemplate used)
    {
        bool last;
        lock (_gate)
            last = --used.Uses == 0 && used.Replaced;
        if (last)
            End(used);
    }

    private void Retire(Resident resident)
    {
        bool unused;
        lock (_gate)
        {
            if (!Remove(resident))
                return;
            unused = resident.Uses == 0;
        }
        resident.GivenUp.Cancel();
        if (unused)
            Close(resident);
    }

    private ResidentTemplate Build(Resident resident, bool mayBeLazy)
    {
        var source = resident.Source;
        var image = ImageLease.Open(source);
        Template? template = null;
        TemplateUse? parent = null;
        try
        {
            var known = new KnownWorkingSet(source);
            if (mayBeLazy && IsWorthwhile(source, image.Image))
                template = _lazyBuilder.BuildLazy(image.Again(), source.Name, known.Current, _pageServer.Value);
            else
                (template, parent) = _builder.Build(image.Image, source);
            template.WorkingSetRecorder.Begin(known);
            var built = new ResidentTemplate(template, image, parent);
            Enter(resident, built, template.Lazy is null ? MemoryOf(template) : (long)image.Image.Pages.LengthBytes);
            if (template.Lazy is { } memory)
                _filler.Begin(resident, memory, image.Again(), known);
            return built;
        }
        catch
        {
            End(template);
            parent?.Dispose();
            image.Dispose();
            throw;
        }
    }

    /// <summary>Whether to start lazy: a large snapshot, unless it would be a fork of what is in memory already.</summary>
    private bool IsWorthwhile(TemplateSource source, SnapshotImage image)
    {
        if (image.Pages.LengthBytes < (ulong)(_options.LazyFromBytes ?? long.MaxValue) || _filler.HasFailed(source.Digest))
            return false;
        if (image.Manifest.Layer is not { } layer)
            return true;
        var parent = SnapshotDigest.FromBytes(layer.ParentSha256.Span).ToString();
        lock (_gate)
            return !(_byDigest.TryGetValue(parent, out var found) && found.Current is { Template.Lazy: null });
    }

    /// <summary>Builds the complete template that follows a lazy one, and puts it into its place.</summary>
    private void Complete(Resident resident, ImageLease image, KnownWorkingSet known)
    {
        Template? template = null;
        TemplateUse? parent = null;
        try
        {
            (template, parent) = _builder.Build(image.Image, resident.Source);
            template.WorkingSetRecorder.Begin(known);
            if (resident.WantsParking)
                _parking.Open(template);
        }
        catch
        {
            End(template);
            parent?.Dispose();
            image.Dispose();
            // Whoever asks next has it built whole, and learns why that fails.
            Retire(resident);
            throw;
        }
        if (Replace(resident, new ResidentTemplate(template, image, parent), MemoryOf(template)) is { } unused)
            End(unused);
        Trim();
    }

    private void Enter(Resident resident, ResidentTemplate built, long bytes)
    {
        if (bytes > _budgetBytes)
            _options.TemplateOversized?.Invoke(new OversizedTemplate(resident.Source.Name, resident.Source.Digest, bytes, _budgetBytes));
        lock (_gate)
        {
            resident.Current = built;
            resident.Bytes = bytes;
            // Somebody may have wanted it gone while it was built.
            if (!resident.Retired)
                _residentBytes += bytes;
        }
    }

    /// <summary>Puts a complete template into the place of a lazy one.</summary>
    /// <returns>The one of the two that nobody needs any more; null when the lazy one is still in use.</returns>
    private ResidentTemplate? Replace(Resident resident, ResidentTemplate complete, long bytes)
    {
        lock (_gate)
        {
            // The users of a place that was given up close what is current, when the last of them ends.
            if (resident.Retired)
                return complete;
            var lazy = resident.Current!;
            resident.Current = complete;
            _residentBytes += bytes - resident.Bytes;
            resident.Bytes = bytes;
            lazy.Replaced = true;
            return lazy.Uses == 0 ? lazy : null;
        }
    }

    private static long MemoryOf(Template template) => template.OwnBytes ?? (long?)ProcessMemory.TryRead(template.Pid)?.ResidentKib * 1024 ?? template.BytesLoaded;

    /// <summary>Drops what has not been used for longest until the rest is within the budget or in use.</summary>
    private void Trim()
    {
        if (Volatile.Read(ref _residentBytes) <= _budgetBytes)
            return;
        var victims = new List<(Resident Resident, TimeSpan Idle)>();
        lock (_gate)
        {
            var oldestFirst = _byDigest.Values.OrderBy(resident => resident.LastUsed).ToList();
            foreach (var resident in oldestFirst.SkipLast(1).Where(one => one is { Uses: 0, Current: not null }))
            {
                if (_residentBytes <= _budgetBytes)
                    break;
                victims.Add((resident, resident.Idle));
                Remove(resident);
            }
        }
        foreach (var (resident, idle) in victims)
        {
            resident.GivenUp.Cancel();
            Close(resident);
            _options.TemplateEvicted?.Invoke(new TemplateEviction(resident.Source.Name, resident.Source.Digest, resident.Bytes, idle));
        }
    }

    /// <summary>Takes it out of the table; false when it was out already. Under the gate.</summary>
    private bool Remove(Resident resident)
    {
        if (resident.Retired)
            return false;
        resident.Retired = true;
        _residentBytes -= resident.Bytes;
        return _byDigest.Remove(resident.Source.Digest);
    }

    private bool Find(Predicate<Resident> wanted, [NotNullWhen(true)] out Resident? found)
    {
        lock (_gate)
            found = _byDigest.Values.FirstOrDefault(resident => wanted(resident));
        return found is not null;
    }

    private void Close(Resident resident)
    {
        if (resident.Current is { } current)
            End(current);
    }

    private void End(ResidentTemplate template)
    {
        End(template.Template);
        template.Image.Dispose();
        template.Parent?.Dispose();
    }

    // Parked clones first: nobody forks from the template for them any more.
    private void End(Template? template)
    {
        if (template is null)
            return;
        _parking.Close(template);
        template.Dispose();
    }
}
