using System.Diagnostics;

namespace Snapshots.RestorePool.Templates;

/// <summary>A snapshot's place in the table of templates. All but <see cref="Source"/> and <see cref="Build"/> is guarded by the table's gate.</summary>
internal sealed class Resident
{
    private int _parks;

    public Resident(TemplateSource source, Func<Resident, ResidentTemplate> build)
    {
        Source = source;
        Build = new Lazy<ResidentTemplate>(() => build(this));
    }

    public TemplateSource Source { get; }

    /// <summary>The first template of this place. Never asked for its value under the gate.</summary>
    public Lazy<ResidentTemplate> Build { get; }

    /// <summary>Cancelled when the place is given up.</summary>
    public CancellationTokenSource GivenUp { get; } = new();

    public int Uses { get; set; }

    /// <summary><see cref="Stopwatch.GetTimestamp"/> when a use last began or ended.</summary>
    public long LastUsed { get; set; }

    /// <summary>Out of the table: it ends with its last use.</summary>
    public bool Retired { get; set; }

    /// <summary>What clones are forked from now; null until it is built.</summary>
    public ResidentTemplate? Current { get; set; }

    /// <summary>Resident memory of its own when it was built, or what it will have; 0 until then.</summary>
    public long Bytes { get; set; }

    /// <summary>Clones of it are wanted, and not only forks for layers. Not guarded.</summary>
    public bool WantsParking => Volatile.Read(ref _parks) != 0;

    /// <summary>True for the first who wants clones of it. Not guarded.</summary>
    public bool BeginToPark() => Interlocked.Exchange(ref _parks, 1) == 0;

    public TimeSpan Idle => Uses > 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(LastUsed);
}

/// <summary>One template in a <see cref="Resident"/>'s place: a lazy one is followed by a complete one. Guarded by the table's gate.</summary>
/// <param name="image">A use of the image that ends with the template.</param>
/// <param name="parent">Of a layer: held as long as the template is there.</param>
internal sealed class ResidentTemplate(Template template, ImageLease image, TemplateUse? parent)
{
    public Template Template { get; } = template;

    public TemplateUse? Parent { get; } = parent;

    public ImageLease Image { get; } = image;

    public int Uses { get; set; }

    /// <summary>Nobody begins to use it any more: it ends with its last use.</summary>
    public bool Replaced { get; set; }
}
