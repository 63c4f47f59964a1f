using System.Globalization;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Domains;

/// <summary>A stored pack: its identity, and which writing of it: 0 as it was made, more each time frames were dropped.</summary>
internal readonly record struct PackName(Sha256Value Id, int Generation)
{
    public const string Prefix = "packs/";

    /// <summary><c>packs/HEX.GENERATION</c></summary>
    public string ObjectName => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Id.Hex}.{Generation}");

    public static bool TryParse(string objectName, out PackName name)
    {
        name = default;
        if (!objectName.StartsWith(Prefix, StringComparison.Ordinal))
            return false;
        var text = objectName.AsSpan(Prefix.Length);
        var dot = text.IndexOf('.');
        if (dot < 0 || !Sha256Value.TryParse(text[..dot], out var id) || !int.TryParse(text[(dot + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var generation))
            return false;
        name = new PackName(id, generation);
        return name.ObjectName == objectName;
    }
}

/// <summary>A page map's name in a pack storage: <c>maps/HEX</c>.</summary>
internal static class MapNames
{
    public const string Prefix = "maps/";

    public static string Of(Sha256Value digest) => Prefix + digest.Hex;
}

/// <summary>The packs of a domain at one moment.</summary>
internal sealed class PackCatalogue
{
    private readonly Dictionary<Sha256Value, (PackName Name, long Bytes)> _newest = [];

    private PackCatalogue()
    {
    }

    /// <summary>The newest writing of each pack, with its length.</summary>
    public IReadOnlyDictionary<Sha256Value, (PackName Name, long Bytes)> Newest => _newest;

    /// <summary>Writings that a newer one has replaced: its writer died before it could delete them.</summary>
    public List<StoredObject> Superseded { get; } = [];

    /// <param name="only">This pack alone; null for all.</param>
    /// <exception cref="Images.ImageException">NotFound: they cannot be listed.</exception>
    public static PackCatalogue Read(IPackStorage storage, Sha256Value? only = null)
    {
        var catalogue = new PackCatalogue();
        foreach (var stored in storage.List(only is { } id ? $"{PackName.Prefix}{id.Hex}." : PackName.Prefix))
        {
            if (!PackName.TryParse(stored.Name, out var name))
                continue;
            var known = catalogue._newest.TryGetValue(name.Id, out var other);
            if (known)
                catalogue.Superseded.Add(other.Name.Generation < name.Generation ? new StoredObject(other.Name.ObjectName, other.Bytes) : stored);
            if (!known || other.Name.Generation < name.Generation)
                catalogue._newest[name.Id] = (name, stored.LengthBytes);
        }
        return catalogue;
    }
}
