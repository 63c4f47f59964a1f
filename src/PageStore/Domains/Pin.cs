using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images;

namespace Snapshots.PageStore.Domains;

/// <summary>What the pins of a domain claim at one moment.</summary>
internal sealed record PinnedPacks(IReadOnlySet<Sha256Value> Packs, bool All)
{
    public bool Contains(Sha256Value pack) => All || Packs.Contains(pack);
}

/// <summary>
/// The claim of a writer, or of a reader of a remote storage, on a domain: a locked file in incoming/ whose name begins the names of all files that it makes there. One of them lists the packs it
/// counts on, so that they are not collected before its image reaches them. The kernel gives up the lock when the writer dies; whoever finds the pin
/// unlocked, with the store's lock held, removes it with its files. Thread-safe but for Dispose.
/// </summary>
internal sealed class Pin : IDisposable
{
    private const string Suffix = ".pin";
    private const string ClaimsSuffix = ".claims";
    // Ends the name of a pin that claims every pack, without writing a list: that needs no room on a full disk.
    private const string Everything = "-all";

    private readonly SafeFileHandle _pin;
    // A file of its own: .NET lets nobody read a file that is locked.
    private readonly SafeFileHandle _claims;
    private readonly string _path;
    private readonly HashSet<Sha256Value> _packs = [];
    private readonly Lock _gate = new();
    private long _length;
    private int _files;
    private bool _abandoned;

    private Pin(string path)
    {
        _path = path;
        _pin = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
        try
        {
            _claims = File.OpenHandle(ClaimsOf(path), FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite);
        }
        catch
        {
            File.Delete(path);
            _pin.Dispose();
            throw;
        }
    }

    /// <summary>Makes a pin without packs. The caller holds the store's lock: until it is locked itself, a new pin looks like a dead one.</summary>
    /// <exception cref="IOException">The file cannot be made.</exception>
    /// <param name="everything">Claim all packs, those included that come later.</param>
    public static Pin Create(string incoming, bool everything = false) =>
        new(Path.Combine(incoming, $"{Path.GetRandomFileName().Replace(".", "", StringComparison.Ordinal)}{(everything ? Everything : string.Empty)}{Suffix}"));

    /// <summary>A path in incoming/ that goes when the writer dies.</summary>
    public string NewFilePath() => $"{_path[..^Suffix.Length]}.{Interlocked.Increment(ref _files)}";

    public bool Holds(Sha256Value pack)
    {
        lock (_gate)
            return _packs.Contains(pack);
    }

    /// <summary>Adds a pack. The caller holds the store's lock and has seen that the pack is there.</summary>
    /// <exception cref="IOException">The disk refused; the pack is not claimed.</exception>
    public void Add(Sha256Value pack)
    {
        lock (_gate)
        {
            var line = Encoding.ASCII.GetBytes(pack.Hex + "\n");
            RandomAccess.Write(_claims, line, _length);
            _length += line.Length;
            _packs.Add(pack);
        }
    }

    /// <summary>Leaves the pin as if its writer had died, for one that has stored what nobody reaches: the next who opens the store collects that.</summary>
    public void Abandon()
    {
        _claims.Dispose();
        _pin.Dispose();
        _abandoned = true;
    }

    public void Dispose()
    {
        if (_abandoned)
            return;
        _claims.Dispose();
        File.Delete(ClaimsOf(_path));
        // Removed while it is still locked: unlocked it would say that its writer died.
        File.Delete(_path);
        _pin.Dispose();
    }

    /// <summary>The packs of all pins whose writers live. The caller holds the store's lock.</summary>
    /// <exception cref="ImageException">LimitExceeded, Malformed: a pin cannot be understood, so nothing may be collected.</exception>
    public static PinnedPacks ReadAll(string incoming)
    {
        var packs = new HashSet<Sha256Value>();
        if (PinsIn(incoming).Any(path => path.EndsWith(Everything + Suffix, StringComparison.Ordinal) && IsLocked(path)))
            return new PinnedPacks(packs, All: true);
        foreach (var path in PinsIn(incoming).Where(IsLocked).Select(ClaimsOf))
        {
            string text;
            try
            {
                using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
                var length = RandomAccess.GetLength(file);
                if (length > PageStoreLimits.MaxPinBytes)
                    throw new ImageException(ImageFailure.LimitExceeded, $"{path}: has {length} bytes; at most {PageStoreLimits.MaxPinBytes} are allowed");
                var bytes = new byte[length];
                text = Encoding.ASCII.GetString(bytes.AsSpan(0, RandomAccess.Read(file, bytes, 0)));
            }
            catch (FileNotFoundException)
            {
                continue; // Its writer has finished: what it published is reachable.
            }
            foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                packs.Add(Sha256Value.TryParse(line, out var pack)
                    ? pack
                    : throw new ImageException(ImageFailure.Malformed, $"{path}: does not hold names of packs; remove it when no snapshot is being made"));
            }
        }
        return new PinnedPacks(packs, All: false);
    }

    /// <summary>Removes every file whose pin is dead or gone; dead pins stay until <see cref="RemoveDead"/>. The caller holds the store's lock.</summary>
    /// <returns>True when a pin is dead: its writer may have left visible files that nothing reaches.</returns>
    public static bool RemoveFilesOfDead(string incoming)
    {
        var pins = PinsIn(incoming);
        var alive = pins.Where(IsLocked).Select(Path.GetFileNameWithoutExtension).ToHashSet(StringComparer.Ordinal);
        foreach (var path in Directory.Exists(incoming) ? Directory.EnumerateFiles(incoming) : [])
        {
            var file = Path.GetFileName(path);
            if (!path.EndsWith(Suffix, StringComparison.Ordinal) && !alive.Contains(file[..Math.Max(0, file.IndexOf('.', StringComparison.Ordinal))]))
                File.Delete(path);
        }
        return alive.Count < pins.Length;
    }

    /// <summary>Removes dead pins, once what their writers left is collected. The caller holds the store's lock.</summary>
    public static void RemoveDead(string incoming) => Array.ForEach([.. PinsIn(incoming).Where(path => !IsLocked(path))], File.Delete);

    private static bool IsLocked(string path)
    {
        try
        {
            using var unlocked = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            return false;
        }
        catch (FileNotFoundException)
        {
            return true; // Its writer has just finished.
        }
        catch (IOException)
        {
            return true;
        }
    }

    private static string ClaimsOf(string pin) => pin[..^Suffix.Length] + ClaimsSuffix;

    private static string[] PinsIn(string incoming) => Directory.Exists(incoming) ? Directory.GetFiles(incoming, "*" + Suffix) : [];
}
