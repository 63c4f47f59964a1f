namespace Snapshots.Images;

/// <summary>Why an image could not be read or written. The store itself stays usable after each of them.</summary>
public enum ImageFailure
{
    /// <summary>No such name, manifest or page file.</summary>
    NotFound,

    /// <summary>A name that no image may have.</summary>
    InvalidName,

    /// <summary>A file is shorter or longer than the manifest says.</summary>
    Truncated,

    /// <summary>A file's contents are not what its digest says.</summary>
    DigestMismatch,

    /// <summary>The manifest cannot be parsed, or contradicts itself or the rules of the format.</summary>
    Malformed,

    /// <summary>The image was written by a newer version of this program.</summary>
    UnsupportedVersion,

    /// <summary>More of something than <see cref="ImageLimits"/> allows.</summary>
    LimitExceeded,

    /// <summary>The disk refused to write. The writer that met this cannot be used any more; nothing of its image is visible.</summary>
    WriteFailed,
}

/// <summary>A failure of an image or of the store; the message names the file and the cure.</summary>
public sealed class ImageException(ImageFailure failure, string message, Exception? cause = null) : Exception(message, cause)
{
    public ImageFailure Failure { get; } = failure;
}
