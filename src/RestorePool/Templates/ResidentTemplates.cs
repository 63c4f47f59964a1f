using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Snapshots.Images;
using Snapshots.Linux.Proc;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Layers;

namespace Snapshots.RestorePool.Templates;

/// <summary>The templates that are in memory: built by the first who asks, used by many at once, dropped when together they have too much memory.</summary>
/// <remarks>
/// <code>
/// 1. A use begins: the template is entered, built when it is not there, and counted as used until the use ends.
/// 2. After a build, and whenever a use ends: while the templates exceed the budget, the one that was used longest ago goes, if nobody uses it.
///    The one that was used last stays, so a template larger than the budget works until another is needed.
/// 3. A template that died, or that somebody wants gone, is retired: the next use builds another, and it ends with its last use.
/// </code>
/// What a template has is measured once, when it is built: it runs no code, so it cannot grow. The template of a layer counts what it does not share
/// with its parent's, which stays as long as any of its layers: to drop it would free nothing that they share. The template that is being built comes on top
/// of the budget, since only a build that succeeded may cost another template its place.
/// Thread-safe. The gate guards the table and the counts, and nothing slow happens under it: builds, forks, and the ends of templates with their
/// parked clones are done outside, so snapshots do not wait for one another. Templates that are out of the table are nobody's but their users'.
/// </remarks>
internal sealed class ResidentTemplates : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Resident> _byDigest = new(StringComparer.Ordinal);
    private readonly ParkingPool _parking;
    private readonly LayeredTemplates _builder;
    private readonly long _budgetBytes;
    private readonly Action<TemplateEviction>? _evicted;
    private readonly Action<OversizedTemplate>? _oversized;
    private long _residentBytes;

    public ResidentTemplates(ParkingPool parking, RestoreOptions options)
    {
        _parking = parking;
        _builder = new LayeredTemplates(options, UseForForks, Retire);
        _budgetBytes = options.TemplateMemoryBytes ?? long.MaxValue;
        _evicted = options.TemplateEvicted;
        _oversized = options.TemplateOversized;
    }

    /// <summary>Begins a use. Waits for a build of this template, of no other.</summary>
    /// <exception cref="Exception">What opening the image or building the template threw; it is not remembered, the reason may be gone next time.</exception>
    public TemplateUse Use(TemplateSource source) => Use(source, parks: true);

    /// <summary>For a template that is wanted as the parent of others: no clone of it is parked for that.</summary>
    private TemplateUse UseForForks(TemplateSource source) => Use(source, parks: false);

    private TemplateUse Use(TemplateSource source, bool parks)
    {
        var resident = Begin(source);
        try
        {
            var template = resident.Build.Value;
            if (parks && resident.BeginToPark())
                _parking.Open(template);
            Trim();
            return new TemplateUse(template, () => End(resident));
        }
        catch
        {
            Retire(resident);
            End(resident);
            throw;
        }
    }

    /// <summary>Takes a template that died out of the table, unless another has its place already.</summary>
    public void Retire(Template dead)
    {
        if (Find(resident => resident.Template == dead, out var found))
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
            built = [.. _byDigest.Values.Where(one => one.Template is not null).Select(one => (one, one.Template!, one.Idle, one.Uses > 0, one.Bytes))];
        var statuses = new List<TemplateStatus>(built.Count);
        foreach (var (resident, template, idle, inUse, bytes) in built)
        {
            var parked = _parking.PidsOf(template);
            // One that ends meanwhile is as good as one that had ended before.
            if (ProcessMemory.TryRead(template.Pid) is { } memory)
                statuses.Add(new TemplateStatus(resident.Source.Name, resident.Source.Digest, template.Pid, memory, parked, idle, inUse, template.ParentDigest?.ToString(), bytes));
        }
        return statuses;
    }

    /// <summary>Ends all templates. Nobody may use one any more.</summary>
    public void Dispose()
    {
        List<Resident> left;
        lock (_gate)
            left = [.. _byDigest.Values];
        left.ForEach(Retire);
    }

    private Resident Begin(TemplateSource source)
    {
        lock (_gate)
        {
            if (!_byDigest.TryGetValue(source.Digest, out var resident))
                _byDigest.Add(source.Digest, resident = new Resident(source, Build));
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

    private void Retire(Resident resident)
    {
        bool unused;
        lock (_gate)
        {
            if (!Remove(resident))
                return;
            unused = resident.Uses == 0;
        }
        if (unused)
            Close(resident);
    }

    private Template Build(Resident resident)
    {
        var image = resident.Source.Open();
        Template? template = null;
        TemplateUse? parent = null;
        try
        {
            (template, parent) = _builder.Build(image, resident.Source);
            template.WorkingSetRecorder.Begin(resident.Source.ReadWorkingSet?.Invoke(), resident.Source.SaveWorkingSet);
            var bytes = template.OwnBytes ?? (long?)ProcessMemory.TryRead(template.Pid)?.ResidentKib * 1024 ?? template.BytesLoaded;
            if (bytes > _budgetBytes)
                _oversized?.Invoke(new OversizedTemplate(resident.Source.Name, resident.Source.Digest, bytes, _budgetBytes));
            Enter(resident, template, parent, image, bytes);
            return template;
        }
        catch
        {
            End(template);
            parent?.Dispose();
            resident.Source.Close(image);
            throw;
        }
    }

    private void Enter(Resident resident, Template template, TemplateUse? parent, SnapshotImage image, long bytes)
    {
        lock (_gate)
        {
            resident.Template = template;
            resident.Parent = parent;
            resident.Image = image;
            resident.Bytes = bytes;
            // Somebody may have wanted it gone while it was built.
            if (!resident.Retired)
                _residentBytes += bytes;
        }
    }

    /// <summary>Drops what has not been used for longest until the rest is within the budget or in use.</summary>
    private void Trim()
    {
        if (Volatile.Read(ref _residentBytes) <= _budgetBytes)
            return;
        var victims = new List<(Resident Resident, TimeSpan Idle)>();
        lock (_gate)
        {
            var oldestFirst = _byDigest.Values.OrderBy(resident => resident.LastUsed).ToList();
            foreach (var resident in oldestFirst.SkipLast(1).Where(one => one is { Uses: 0, Template: not null }))
            {
                if (_residentBytes <= _budgetBytes)
                    break;
                victims.Add((resident, resident.Idle));
                Remove(resident);
            }
        }
        foreach (var (resident, idle) in victims)
        {
            Close(resident);
            _evicted?.Invoke(new TemplateEviction(resident.Source.Name, resident.Source.Digest, resident.Bytes, idle));
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
        End(resident.Template);
        resident.Source.Close(resident.Image);
        resident.Parent?.Dispose();
    }

    // Parked clones first: nobody forks from the template for them any more.
    private void End(Template? template)
    {
        if (template is null)
            return;
        _parking.Close(template);
        template.Dispose();
    }

    /// <summary>A place in the table. All but <see cref="Source"/> and <see cref="Build"/> is guarded by the gate.</summary>
    private sealed class Resident
    {
        private int _parks;

        public Resident(TemplateSource source, Func<Resident, Template> build)
        {
            Source = source;
            Build = new Lazy<Template>(() => build(this));
        }

        public TemplateSource Source { get; }

        /// <summary>Never asked for its value under the gate.</summary>
        public Lazy<Template> Build { get; }

        public int Uses { get; set; }

        /// <summary><see cref="Stopwatch.GetTimestamp"/> when a use last began or ended.</summary>
        public long LastUsed { get; set; }

        /// <summary>Out of the table: it ends with its last use.</summary>
        public bool Retired { get; set; }

        /// <summary>Null until it is built.</summary>
        public Template? Template { get; set; }

        /// <summary>Of a layer: held as long as the template is there.</summary>
        public TemplateUse? Parent { get; set; }

        public SnapshotImage? Image { get; set; }

        /// <summary>Resident memory of its own when it was built; 0 until then.</summary>
        public long Bytes { get; set; }

        /// <summary>True for the first who wants clones of it, and not only forks for layers.</summary>
        public bool BeginToPark() => Interlocked.Exchange(ref _parks, 1) == 0;

        public TimeSpan Idle => Uses > 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(LastUsed);
    }
}
