using System.Globalization;

namespace Snapshots.Images.Validation;

/// <summary>How the rules of the format complain: where the manifest is, which part of it, what is wrong.</summary>
internal sealed class Rule(string source)
{
    /// <exception cref="ImageException">Malformed, unless <paramref name="holds"/>.</exception>
    public void Require(bool holds, string part, string expectation)
    {
        if (!holds)
            throw new ImageException(ImageFailure.Malformed, $"{source}: {part}: {expectation}; the image was not written by this program or is damaged, create the snapshot again");
    }

    /// <exception cref="ImageException">LimitExceeded, unless the count is allowed.</exception>
    public void Limit(long count, long most, string what)
    {
        if (count > most)
            throw new ImageException(ImageFailure.LimitExceeded, string.Create(CultureInfo.InvariantCulture, $"{source}: {count} {what}; at most {most} are allowed"));
    }
}
