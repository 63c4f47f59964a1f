using Snapshots.AddressSpace;
using Snapshots.Host;
using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.EndToEnd.Tests;

/// <summary>Looks into a farm's store, and writes there, as another host or another version might have.</summary>
internal static class StoredImage
{
    public static ImageStore Open(Farm farm) => HostStore.Open(farm.Store);

    /// <summary>Replaces a snapshot by the same one with another manifest.</summary>
    public static void Rewrite(Farm farm, string name, Action<Manifest> change)
    {
        var store = Open(farm);
        using var image = store.OpenImage(name);
        using var writer = store.CreateWriter();
        var buffer = new byte[256 * PageSize.Bytes];
        for (ulong offset = 0; offset < image.Pages.LengthBytes; offset += (ulong)buffer.Length)
        {
            var piece = buffer.AsSpan(0, (int)Math.Min((ulong)buffer.Length, image.Pages.LengthBytes - offset));
            image.Pages.Read(offset, piece);
            // Pages stay where they were, so the extents of the manifest stay right.
            writer.AppendWithZeros(offset / PageSize.Bytes, piece, new List<PageExtent>());
        }
        var manifest = image.Manifest.Clone();
        change(manifest);
        writer.Commit(name, manifest);
    }
}
