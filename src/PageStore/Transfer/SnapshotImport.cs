using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Images.Validation;
using Snapshots.PageStore.Maintenance;
using Snapshots.PageStore.Maps;
using Snapshots.PageStore.Packs;

namespace Snapshots.PageStore.Transfer;

/// <summary>
/// Reads a snapshot from one file. The file may be anybody's: lengths are compared with limits and with the file before memory is taken for them.
/// <code>
/// 1. Header, then manifest, page map and packs, each compared with the digest that the part before has of it, then parsed, then held against the rules.
/// 2. Every frame of every pack: checksum, and the SHA-256 of every page. Nothing may follow the last pack.
/// 3. Write the pages into the store like those of a new image, each found there stored once; publish under the name.
/// </code>
/// </summary>
public static class SnapshotImport
{
    /// <param name="name">null for the name that it was exported with.</param>
    /// <exception cref="ImageException">NotFound: no such file; every other failure: the file is not good, and nothing of it is in the store; WriteFailed.</exception>
    public static TransferReport Run(SnapshotStore store, string path, string? name)
    {
        using var file = new FileSection(path);
        var header = ExportHeader.Decode(file.Take(ExportHeader.Bytes), path);
        name ??= header.Name;
        if (!ImageStore.IsValidName(name))
            throw new ImageException(ImageFailure.InvalidName, $"{path}: \"{name}\" cannot name a snapshot; give another with --name");
        var manifest = ReadManifest(file.Take(header.ManifestBytes), header, path);
        var map = ReadMap(file.Take(header.MapBytes), manifest.Pages, path);
        if (map.Packs.Count != header.PackCount)
            throw new ImageException(ImageFailure.Malformed, $"{path}: holds {header.PackCount} packs and needs {map.Packs.Count}; export it again");
        using var pages = new PackedPageReader(map, ReadPacks(file, map), manifest.Pages.LengthBytes, path);
        using var writer = store.Images.CreateWriter();
        SnapshotExport.CopyPages(pages, writer);
        var digest = writer.Commit(name, manifest);
        return new TransferReport(name, digest, pages.LengthBytes, file.LengthBytes);
    }

    private static Manifest ReadManifest(byte[] bytes, ExportHeader header, string path)
    {
        if (Sha256Value.Of(bytes) != header.Manifest)
            throw new ImageException(ImageFailure.DigestMismatch, $"{path}: the manifest is damaged (SHA-256 differs); export or copy it again");
        try
        {
            var manifest = Manifest.Parser.ParseFrom(bytes);
            ManifestValidator.Validate(manifest, path);
            return manifest.Pages.Map is null ? throw new ImageException(ImageFailure.Malformed, $"{path}: the manifest names no page map; export it again") : manifest;
        }
        catch (InvalidProtocolBufferException cause)
        {
            throw new ImageException(ImageFailure.Malformed, $"{path}: holds no manifest: {cause.Message}; export it again", cause);
        }
    }

    private static PageMap ReadMap(byte[] bytes, PageBlob pages, string path)
    {
        if ((ulong)bytes.Length != pages.Map.LengthBytes || Sha256Value.Of(bytes) != Sha256Value.Read(pages.Map.Sha256.Span))
            throw new ImageException(ImageFailure.DigestMismatch, $"{path}: the page map is damaged (SHA-256 differs); export or copy it again");
        return PageMap.Decode(bytes, pages.LengthBytes, path);
    }

    private static PackFile[] ReadPacks(FileSection file, PageMap map)
    {
        var packs = new List<PackFile>();
        try
        {
            foreach (var id in map.Packs)
            {
                var header = PackHeader.Decode(file.Peek(PackHeader.Bytes), file.Path);
                var pack = PackFile.Open(file.TakeObject(header.FileBytes), id);
                packs.Add(pack);
                if (PackCheck.FindBadFrames(pack).Values.FirstOrDefault() is { } bad)
                    throw new ImageException(bad.Failure, $"{bad.Message}; export or copy it again", bad);
            }
            file.RequireEnd();
            return [.. packs];
        }
        catch
        {
            packs.ForEach(pack => pack.Dispose());
            throw;
        }
    }
}
