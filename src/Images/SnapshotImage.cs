using Snapshots.Images.V1;

namespace Snapshots.Images;

/// <summary>An image opened for reading. It stays readable until disposed, even when it is removed from the store meanwhile.</summary>
public sealed class SnapshotImage : IDisposable
{
    internal SnapshotImage(SnapshotDigest digest, string? name, Manifest manifest, IPageReader pages)
    {
        Digest = digest;
        Name = name;
        Manifest = manifest;
        Pages = pages;
    }

    public SnapshotDigest Digest { get; }

    /// <summary>The name under which it was opened; null when it was opened by digest.</summary>
    public string? Name { get; }

    /// <summary>Checked: every index, extent and address in it is within bounds. Not to be changed.</summary>
    public Manifest Manifest { get; }

    public IPageReader Pages { get; }

    /// <summary>Reads the whole page file once, so that damage is found before somebody needs the image.</summary>
    /// <exception cref="ImageException">DigestMismatch, Truncated.</exception>
    public void VerifyPages()
    {
        var buffer = GC.AllocateUninitializedArray<byte>(ImageLimits.MaxSegmentBytes);
        for (ulong offset = 0; offset < Pages.LengthBytes; offset += (ulong)buffer.Length)
            Pages.Read(offset, buffer.AsSpan(0, (int)Math.Min((ulong)buffer.Length, Pages.LengthBytes - offset)));
    }

    public void Dispose() => Pages.Dispose();
}
