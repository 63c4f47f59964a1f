using System.Text;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Images.Validation;

namespace Snapshots.Images;

/// <summary>A name in the store with what is behind it.</summary>
/// <param name="Digest">null when the name file itself is damaged.</param>
/// <param name="Manifest">null when the image cannot be used; <see cref="Problem"/> says why.</param>
/// <param name="ManifestBytes">Length of the manifest on disk.</param>
public sealed record ImageListing(string Name, SnapshotDigest? Digest, Manifest? Manifest, long ManifestBytes, ImageException? Problem);

/// <summary>What a removal freed. <see cref="KeptBecause"/> tells why unreachable files were left: a damaged image might need them.</summary>
public sealed record RemovalReport(int RemovedFiles, long FreedBytes, string? KeptBecause);

/// <summary>
/// A directory of images (<see cref="StoreLayout"/> draws it). Files are written once and never changed; a name keeps its image alive, and files that no
/// name reaches are removed when a name goes. Safe for use by several threads and processes: whoever changes names or blobs holds the store's lock.
/// </summary>
public sealed class ImageStore
{
    // sha256:, 64 digits, a newline.
    private const int MaxNameFileBytes = 128;

    private readonly StoreLayout _layout;
    private readonly StoreFiles _files;
    private readonly IPageStorage? _packs;

    private ImageStore(StoreLayout layout, StoreFiles files, IPageStorage? packs)
    {
        _layout = layout;
        _files = files;
        _packs = packs;
    }

    public string Root => _layout.Root;

    /// <summary>Opens the store in <paramref name="directory"/>, making it when it is missing, and removes what crashed writers left.</summary>
    /// <param name="packs">Takes the pages of new images and gives back those it took earlier; null for a page file with each image (version 1), which every store reads.</param>
    /// <exception cref="ImageException">WriteFailed: the directory cannot be made.</exception>
    public static ImageStore Open(string directory, StoreFiles files, IPageStorage? packs = null)
    {
        var layout = new StoreLayout(Path.GetFullPath(directory));
        try
        {
            if (!Directory.Exists(layout.Incoming))
                Make(layout, files);
            // Memory of processes is in there: nobody but the owner may look.
            File.SetUnixFileMode(layout.Root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{layout.Root}: cannot make the store: {cause.Message}; choose another directory with --store", cause);
        }
        var store = new ImageStore(layout, files, packs);
        using (files.Lock(layout.LockFile))
            store.RemoveLeftovers();
        return store;
    }

    private static void Make(StoreLayout layout, StoreFiles files)
    {
        Directory.CreateDirectory(layout.Blobs);
        Directory.CreateDirectory(layout.Names);
        foreach (var directory in new[] { layout.Blobs, layout.Root })
            files.SyncDirectory(Path.GetDirectoryName(directory)!);
        files.SyncDirectory(layout.Root);
        // Last: where it is, all is.
        Directory.CreateDirectory(layout.Incoming);
    }

    /// <summary>Whether an image may be called <paramref name="name"/>.</summary>
    public static bool IsValidName(string name) => StoreLayout.IsValidName(name);

    /// <summary>Begins a new image.</summary>
    /// <param name="parent">An image of this store whose pages a layer takes over, by <see cref="ImageWriter.AppendFromParent"/>; its pages must lie in packs.</param>
    /// <exception cref="ImageException">WriteFailed; NotFound and others: the parent is gone, or damaged.</exception>
    public ImageWriter CreateWriter(SnapshotImage? parent = null)
    {
        var path = _layout.NewIncomingPath();
        try
        {
            // Under the lock, so that nobody takes the file for a leftover before it is locked itself (FileShare.None does that).
            using (_files.Lock(_layout.LockFile))
            {
                if (_packs is not null)
                    return new ImageWriter(this, _packs.CreateWriter(parent?.Manifest.Pages));
                var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
                return new ImageWriter(this, new PageBlobWriter(_layout, file, path));
            }
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{path}: {cause.Message}; free space on that file system and create the snapshot again", cause);
        }
    }

    /// <summary>The digest behind a name, or the digest that <paramref name="nameOrDigest"/> is (<c>sha256:HEX</c>), whether or not the image exists.</summary>
    /// <exception cref="ImageException">NotFound: no such name; InvalidName; Malformed: the name file is damaged.</exception>
    public SnapshotDigest Resolve(string nameOrDigest)
    {
        if (SnapshotDigest.TryParse(nameOrDigest, out var digest))
            return digest;
        var path = _layout.NamePath(nameOrDigest);
        var text = Encoding.ASCII.GetString(ReadFile(path, MaxNameFileBytes, $"no snapshot is called \"{nameOrDigest}\"; list them, or create it")).TrimEnd('\n');
        return SnapshotDigest.TryParse(text, out digest)
            ? digest
            : throw new ImageException(ImageFailure.Malformed, $"{path}: does not hold a digest; remove \"{nameOrDigest}\" and create it again");
    }

    /// <summary>Opens an image. Its manifest is verified now, its pages when they are read.</summary>
    /// <exception cref="ImageException">Every <see cref="ImageFailure"/> but WriteFailed.</exception>
    public SnapshotImage OpenImage(string nameOrDigest)
    {
        var name = SnapshotDigest.TryParse(nameOrDigest, out _) ? null : nameOrDigest;
        while (true)
        {
            var digest = Resolve(nameOrDigest);
            try
            {
                var manifest = ReadManifest(digest, out _);
                return new SnapshotImage(digest, name, manifest, OpenPages(manifest.Pages));
            }
            catch (ImageException gone) when (gone.Failure == ImageFailure.NotFound && name is not null && Resolve(name) != digest)
            {
                // The name moved to another image between the two steps, and its first image went.
            }
        }
    }

    /// <summary>What clones of an image were seen to touch; null when that is not known.</summary>
    /// <exception cref="ImageException">DigestMismatch, Malformed, LimitExceeded: the image itself is not concerned.</exception>
    public WorkingSet? TryReadWorkingSet(SnapshotDigest digest)
    {
        var path = _layout.WorkingSetPath(digest.Hex);
        try
        {
            return WorkingSetFile.Decode(ReadFile(path, WorkingSetFile.MaxBytes, "no working set is known"), path);
        }
        catch (ImageException none) when (none.Failure == ImageFailure.NotFound)
        {
            return null;
        }
    }

    /// <summary>Keeps what clones of an image were seen to touch, instead of what was known before. Nothing is kept of an image that is gone.</summary>
    /// <exception cref="ImageException">WriteFailed; LimitExceeded.</exception>
    public void SaveWorkingSet(SnapshotDigest digest, WorkingSet set)
    {
        var contents = WorkingSetFile.Encode(set);
        var path = _layout.WorkingSetPath(digest.Hex);
        using (_files.Lock(_layout.LockFile))
        {
            if (!File.Exists(_layout.BlobPath(digest.Hex)))
                return;
            Change(path, () =>
            {
                Directory.CreateDirectory(_layout.WorkingSets);
                WriteThenRename(contents, path);
                return true;
            });
        }
    }

    /// <summary>All names, sorted; a damaged image is listed with its problem.</summary>
    public IReadOnlyList<ImageListing> List() => [.. NamesInStore().Select(Describe)];

    /// <summary>Takes a name away, and removes every file that no other name reaches.</summary>
    /// <exception cref="ImageException">NotFound: no such name; InvalidName; WriteFailed.</exception>
    public RemovalReport Remove(string name)
    {
        var path = _layout.NamePath(name);
        using (_files.Lock(_layout.LockFile))
        {
            if (!File.Exists(path))
                throw new ImageException(ImageFailure.NotFound, $"{path}: no snapshot is called \"{name}\"; list them");
            return RemoveName(path);
        }
    }

    /// <summary>As <see cref="Remove"/>, for an image that was found broken; null when the name has moved to another image since, or is gone.</summary>
    /// <param name="seen">What the name led to when that was found; null when its file held no digest.</param>
    /// <exception cref="ImageException">InvalidName; WriteFailed.</exception>
    public RemovalReport? RemoveBroken(string name, SnapshotDigest? seen)
    {
        var path = _layout.NamePath(name);
        using (_files.Lock(_layout.LockFile))
        {
            if (!File.Exists(path) || TryResolve(name) != seen)
                return null;
            return RemoveName(path);
        }
    }

    /// <summary>Removes every file that no name reaches; for stores where a removal had to keep them.</summary>
    /// <exception cref="ImageException">WriteFailed.</exception>
    public RemovalReport CollectGarbage()
    {
        using (_files.Lock(_layout.LockFile))
            return Change(_layout.Root, RemoveUnreachable);
    }

    /// <summary>Calls <paramref name="look"/> with all names while nobody else can change names or files: it should be brief.</summary>
    /// <exception cref="ImageException">WriteFailed, or what <paramref name="look"/> throws.</exception>
    public T Examine<T>(Func<IReadOnlyList<ImageListing>, T> look)
    {
        using (_files.Lock(_layout.LockFile))
            return Change(_layout.Root, () => look(List()));
    }

    /// <summary>Makes finished files visible: pages and manifest first, the name that reaches them last.</summary>
    internal void Publish(string name, SnapshotDigest manifestDigest, byte[] manifest, IPageWriter pages)
    {
        using (_files.Lock(_layout.LockFile))
        {
            try
            {
                Change(_layout.BlobPath(manifestDigest.Hex), () =>
                {
                    var namePath = _layout.NamePath(name);
                    var replaces = File.Exists(namePath);
                    if (replaces)
                        MarkCollecting();
                    pages.Publish();
                    WriteThenRename(manifest, _layout.BlobPath(manifestDigest.Hex));
                    _files.SyncDirectory(_layout.Blobs);
                    WriteThenRename(Encoding.ASCII.GetBytes($"{manifestDigest}\n"), namePath);
                    _files.SyncDirectory(_layout.Names);
                    return replaces ? RemoveUnreachable() : null;
                });
            }
            catch (ImageException failed) when (failed.Failure == ImageFailure.WriteFailed)
            {
                // The disk is full, most likely: what is visible but unreachable would keep it so.
                Change(_layout.Root, RemoveUnreachable);
                throw;
            }
        }
    }

    // Called with the lock held.
    private RemovalReport RemoveName(string path) => Change(path, () =>
    {
        MarkCollecting();
        File.Delete(path);
        _files.SyncDirectory(_layout.Names);
        return RemoveUnreachable();
    });

    /// <summary>As <see cref="Resolve"/>; null when there is no digest.</summary>
    public SnapshotDigest? TryResolve(string name)
    {
        try
        {
            return Resolve(name);
        }
        catch (ImageException)
        {
            return null;
        }
    }

    private static T Change<T>(string path, Func<T> change)
    {
        try
        {
            return change();
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{path}: {cause.Message}; check the disk and try again", cause);
        }
    }

    private void WriteThenRename(ReadOnlySpan<byte> contents, string path)
    {
        var temporary = _layout.NewIncomingPath();
        try
        {
            using (var file = File.OpenHandle(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                RandomAccess.Write(file, contents, 0);
                RandomAccess.FlushToDisk(file);
            }
            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            // Gone already when it was renamed.
            File.Delete(temporary);
        }
    }

    private void MarkCollecting()
    {
        try
        {
            File.Create(_layout.CollectingMark).Dispose();
        }
        catch (IOException)
        {
            // A full disk must not keep anybody from removing; if we die now, the next collection finds what is left.
        }
    }

    // Called with the lock held. A file that its writer still has open is locked and stays.
    private void RemoveLeftovers()
    {
        var interrupted = File.Exists(_layout.CollectingMark);
        foreach (var path in Directory.EnumerateFiles(_layout.Incoming).Where(path => path != _layout.CollectingMark))
        {
            try
            {
                using var unlocked = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
                File.Delete(path);
            }
            catch (IOException)
            {
                // Locked: somebody is writing it.
            }
        }
        // A writer that died between making its files visible and naming them left what only a collection finds.
        interrupted |= _packs?.RemoveLeftovers() == true;
        if (interrupted)
            Change(_layout.Root, RemoveUnreachable);
    }

    // Called with the lock held.
    private RemovalReport RemoveUnreachable()
    {
        var report = SweepUnreachable();
        File.Delete(_layout.CollectingMark);
        return report;
    }

    private RemovalReport SweepUnreachable()
    {
        var reachable = new HashSet<string>(StringComparer.Ordinal);
        var pages = new List<ReachablePages>();
        foreach (var name in NamesInStore())
        {
            try
            {
                var digest = Resolve(name);
                reachable.Add(digest.Hex);
                var described = ReadManifest(digest, out _).Pages;
                if (described.Map is null)
                    reachable.Add(Convert.ToHexStringLower(described.Sha256.Span));
                else
                    pages.Add(new ReachablePages(name, described));
            }
            catch (ImageException problem)
            {
                return new RemovalReport(0, 0, $"\"{name}\" cannot be read and may share pages with what was removed; remove it too ({problem.Message})");
            }
        }
        try
        {
            // First, since it may find that it cannot tell; blobs go after what they lead to.
            var (packFiles, packBytes) = _packs?.CollectGarbage(pages) ?? (0, 0);
            var (files, bytes) = RemoveBlobs(reachable);
            return new RemovalReport(files + packFiles, bytes + packBytes, null);
        }
        catch (ImageException problem)
        {
            return new RemovalReport(0, 0, problem.Message);
        }
    }

    private (int Files, long Bytes) RemoveBlobs(HashSet<string> reachable)
    {
        var count = 0;
        long bytes = 0;
        var workingSets = new DirectoryInfo(_layout.WorkingSets);
        var files = new DirectoryInfo(_layout.Blobs).EnumerateFiles().Concat(workingSets.Exists ? workingSets.EnumerateFiles() : []);
        foreach (var file in files.Where(file => !reachable.Contains(file.Name)))
        {
            bytes += file.Length;
            count++;
            file.Delete();
        }
        _files.SyncDirectory(_layout.Blobs);
        return (count, bytes);
    }

    private IEnumerable<string> NamesInStore() =>
        Directory.EnumerateFiles(_layout.Names).Select(path => Path.GetFileName(path)!).Where(IsValidName).Order(StringComparer.Ordinal);

    private ImageListing Describe(string name)
    {
        SnapshotDigest? digest = null;
        try
        {
            digest = Resolve(name);
            var manifest = ReadManifest(digest.Value, out var length);
            if (manifest.Pages.Map is null)
                CheckPageFile(manifest.Pages);
            else
                RequirePacks(manifest.Pages).Check(manifest.Pages);
            return new ImageListing(name, digest, manifest, length, null);
        }
        catch (ImageException problem)
        {
            return new ImageListing(name, digest, null, 0, problem);
        }
    }

    // Length and digest first, then the parser, then the rules: nothing is trusted before it was checked.
    private Manifest ReadManifest(SnapshotDigest digest, out int length)
    {
        var path = _layout.BlobPath(digest.Hex);
        var bytes = ReadFile(path, ImageLimits.MaxManifestBytes, $"the manifest {digest} is not in the store; create the snapshot again");
        length = bytes.Length;
        if (SnapshotDigest.Of(bytes) != digest)
            throw new ImageException(ImageFailure.DigestMismatch, $"{path}: the manifest is damaged (SHA-256 differs); remove the snapshot and create it again");
        try
        {
            var manifest = Manifest.Parser.ParseFrom(bytes);
            ManifestValidator.Validate(manifest, path);
            return manifest;
        }
        catch (InvalidProtocolBufferException cause)
        {
            throw new ImageException(ImageFailure.Malformed, $"{path}: is no manifest: {cause.Message}; create the snapshot again", cause);
        }
    }

    private IPageReader OpenPages(PageBlob pages)
    {
        if (pages.Map is not null)
            return RequirePacks(pages).Open(pages);
        var path = CheckPageFile(pages);
        return new FilePageReader(OpenForReading(path, "its page file is missing; create the snapshot again"), path, pages);
    }

    private IPageStorage RequirePacks(PageBlob pages) =>
        _packs ?? throw new ImageException(ImageFailure.UnsupportedVersion, $"{_layout.Root}: the pages are in packs of \"{pages.Map.Domain}\", and this store was opened without its page store");

    private string CheckPageFile(PageBlob blob)
    {
        var path = _layout.BlobPath(Convert.ToHexStringLower(blob.Sha256.Span));
        var file = new FileInfo(path);
        if (!file.Exists)
            throw new ImageException(ImageFailure.NotFound, $"{path}: the page file is missing; create the snapshot again");
        if ((ulong)file.Length != blob.LengthBytes)
            throw new ImageException(ImageFailure.Truncated, $"{path}: has {file.Length} bytes instead of {blob.LengthBytes}; remove the snapshot and create it again");
        return path;
    }

    private static byte[] ReadFile(string path, int maxBytes, string whenMissing)
    {
        using var file = OpenForReading(path, whenMissing);
        var length = RandomAccess.GetLength(file);
        if (length > maxBytes)
            throw new ImageException(ImageFailure.LimitExceeded, $"{path}: has {length} bytes; at most {maxBytes} are allowed; remove it and create the snapshot again");
        var contents = new byte[length];
        var read = RandomAccess.Read(file, contents, 0);
        return read == length ? contents : throw new ImageException(ImageFailure.Truncated, $"{path}: ends at {read} instead of {length}; read it again");
    }

    private static SafeFileHandle OpenForReading(string path, string whenMissing)
    {
        try
        {
            return File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (Exception cause) when (cause is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ImageException(ImageFailure.NotFound, $"{path}: {whenMissing}", cause);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.NotFound, $"{path}: cannot be opened: {cause.Message}; run as the store's owner", cause);
        }
    }
}
