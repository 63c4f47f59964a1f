using System.Text.RegularExpressions;

namespace Snapshots.Images;

/// <summary>
/// Where things are in a store:
/// <code>
///   STORE/blobs/sha256/HEX   manifests and page files, named by the SHA-256 of their contents
///   STORE/names/NAME         text: sha256:HEX of the manifest
///   STORE/working-sets/HEX   what clones of the image HEX were seen to touch; may be lost
///   STORE/incoming/…         files being written; locked while their writer lives
///   STORE/hash-seed          for interpreters that `create` launches (the host's HashSeed)
///   STORE/lock               held while names and blobs change
/// </code>
/// </summary>
internal sealed partial class StoreLayout(string root)
{
    public string Root { get; } = root;

    public string Blobs { get; } = Path.Combine(root, "blobs", "sha256");

    public string Names { get; } = Path.Combine(root, "names");

    public string WorkingSets { get; } = Path.Combine(root, "working-sets");

    public string Incoming { get; } = Path.Combine(root, "incoming");

    public string LockFile { get; } = Path.Combine(root, "lock");

    /// <summary>There while files that a name has just left are collected: an opener who finds it, with the lock held, finishes that.</summary>
    public string CollectingMark { get; } = Path.Combine(root, "incoming", "collecting");

    public string BlobPath(string hex) => Path.Combine(Blobs, hex);

    public string WorkingSetPath(string hex) => Path.Combine(WorkingSets, hex);

    public string NamePath(string name) => Path.Combine(Names, CheckName(name));

    public string NewIncomingPath() => Path.Combine(Incoming, Path.GetRandomFileName());

    public static bool IsValidName(string name) => name.Length <= ImageLimits.MaxNameLength && NamePattern().IsMatch(name);

    /// <exception cref="ImageException">InvalidName</exception>
    public static string CheckName(string name) =>
        IsValidName(name)
            ? name
            : throw new ImageException(ImageFailure.InvalidName,
                $"\"{name}\" cannot name a snapshot: use 1 to {ImageLimits.MaxNameLength} letters, digits, dots, underscores and hyphens, beginning with a letter or digit");

    // \z and not $, which would let a final newline pass.
    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]*\z", RegexOptions.CultureInvariant)]
    private static partial Regex NamePattern();
}
