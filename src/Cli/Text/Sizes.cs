using System.Globalization;

namespace Snapshots.Cli.Text;

/// <summary>Sizes on the command line: a number and a unit in powers of 1024, <c>512MiB</c>, <c>8GiB</c>, <c>1.5GiB</c>.</summary>
public static class Sizes
{
    public const string Syntax = "a number with a unit: 512MiB, 8GiB or 1.5TiB";

    /// <summary>The largest size that is understood, in bytes: more than any host has.</summary>
    public const long MaxBytes = 1L << 50;

    /// <param name="bytes">At least 1 when this is true.</param>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        var digits = text.AsSpan().TrimEnd("BKMGTi");
        if (!double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value))
            return false;
        double? exact = text[digits.Length..] switch
        {
            "B" => value,
            "KiB" => value * (1L << 10),
            "MiB" => value * (1L << 20),
            "GiB" => value * (1L << 30),
            "TiB" => value * (1L << 40),
            _ => null,
        };
        if (exact is not (>= 1 and <= MaxBytes))
            return false;
        bytes = (long)exact.Value;
        return true;
    }
}
