using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Snapshots.Images;

namespace Snapshots.Host;

/// <summary>
/// A number of each store's own, by which the interpreters that are launched for its snapshots lay out their hash tables (PYTHONHASHSEED): workers of one kind
/// have equal memory then, and share it in the store. Nobody outside can know it; clones of a snapshot share their seed in any case.
/// <code>
///   STORE/hash-seed   decimal, 1 to 4294967295
/// </code>
/// </summary>
public static class HashSeed
{
    private const string FileName = "hash-seed";
    private const int MaxFileBytes = 16;

    /// <summary>That of a store, made when there is none.</summary>
    /// <exception cref="ImageException">Malformed: the file holds no seed; WriteFailed: it cannot be read or made.</exception>
    public static uint Of(string storeDirectory)
    {
        var path = Path.Combine(storeDirectory, FileName);
        try
        {
            if (!File.Exists(path))
                Make(path);
            return Read(path);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.WriteFailed, $"{path}: {cause.Message}; run as the store's owner, and free space on that file system", cause);
        }
    }

    private static uint Read(string path)
    {
        using var file = File.OpenHandle(path);
        Span<byte> bytes = stackalloc byte[MaxFileBytes + 1];
        var text = Encoding.ASCII.GetString(bytes[..RandomAccess.Read(file, bytes, 0)]).Trim();
        return uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var seed) && seed > 0
            ? seed
            : throw new ImageException(ImageFailure.Malformed, $"{path}: holds no number from 1 to {uint.MaxValue}; remove it: new workers then share less with older ones");
    }

    private static void Make(string path)
    {
        // 0 would turn Python's randomisation off for all to know.
        var seed = (uint)RandomNumberGenerator.GetInt32(int.MaxValue) + 1;
        var made = $"{path}.{Path.GetRandomFileName()}";
        using (var file = new FileStream(made, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            file.Write(Encoding.ASCII.GetBytes(seed.ToString(CultureInfo.InvariantCulture) + "\n"));
            file.Flush(flushToDisk: true);
        }
        try
        {
            File.Move(made, path, overwrite: false);
        }
        catch (IOException) when (File.Exists(path))
        {
            File.Delete(made); // Somebody else was faster: theirs counts.
        }
    }
}
