using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.PageStore.Transfer;

/// <param name="PagesBytes">Of the page space.</param>
/// <param name="FileBytes">Of the file.</param>
public sealed record TransferReport(string Name, SnapshotDigest Digest, ulong PagesBytes, long FileBytes);

/// <summary>
/// Writes a snapshot as one file, with nothing in it of other snapshots.
/// <code>
/// 1. Open the image; write its pages again, as for an empty domain, into packs in incoming/.
/// 2. Put header, manifest, page map and packs one behind the other into FILE.partial; flush it; rename it.
/// </code>
/// The image is the same as the one in the store, but for where its pages lie: its digest is that which an empty store would give it.
/// </summary>
public static class SnapshotExport
{
    private const int CopyBytes = 4 << 20;

    /// <param name="nameOrDigest">A digest is exported under a name made of it.</param>
    /// <param name="path">Is replaced when it is there.</param>
    /// <exception cref="ImageException">Every failure; WriteFailed is about <paramref name="path"/> or the store, and leaves neither changed.</exception>
    public static TransferReport Run(SnapshotStore store, string nameOrDigest, string path)
    {
        using var image = store.Images.OpenImage(nameOrDigest);
        var partial = path + ".partial";
        try
        {
            using var pages = store.Pages.CreateLoneWriter();
            CopyPages(image.Pages, pages);
            var manifest = image.Manifest.Clone();
            manifest.Pages = pages.Finish();
            manifest.FormatVersion = ImageLimits.FormatVersion;
            var (map, packs) = pages.Files;
            var bytes = manifest.ToByteArray();
            var digest = SnapshotDigest.Of(bytes);
            var header = new ExportHeader(image.Name ?? $"sha256-{image.Digest.Hex[..12]}", bytes.Length, (long)manifest.Pages.Map.LengthBytes, packs.Count, Sha256Value.Of(bytes));
            var length = Write(partial, header.Encode(), bytes, [map, .. packs]);
            File.Move(partial, path, overwrite: true);
            return new TransferReport(header.Name, digest, image.Pages.LengthBytes, length);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(partial))
                File.Delete(partial);
            throw new ImageException(ImageFailure.WriteFailed, $"{path}: {cause.Message}; export to another place", cause);
        }
    }

    /// <summary>Hands over a page space as it is, zeros included: the extents of its manifest stay right.</summary>
    internal static void CopyPages(IPageReader from, IPageSink to)
    {
        var buffer = GC.AllocateUninitializedArray<byte>(CopyBytes);
        var extents = new List<PageExtent>();
        for (ulong at = 0; at < from.LengthBytes; at += CopyBytes)
        {
            var piece = buffer.AsSpan(0, (int)Math.Min(CopyBytes, from.LengthBytes - at));
            from.Read(at, piece);
            to.AppendWithZeros(at / PageStoreLimits.PageBytes, piece, extents);
        }
    }

    private static long Write(string path, byte[] header, byte[] manifest, IReadOnlyList<string> files)
    {
        // Memory of a process is in there.
        using var output = new FileStream(path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
        output.Write(header);
        output.Write(manifest);
        foreach (var file in files)
        {
            using var input = File.OpenRead(file);
            input.CopyTo(output, CopyBytes);
        }
        output.Flush(flushToDisk: true);
        return output.Length;
    }
}
