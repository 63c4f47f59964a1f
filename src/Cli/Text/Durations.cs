using System.Globalization;

namespace Snapshots.Cli.Text;

/// <summary>Durations on the command line: a number and a unit, <c>1500ms</c>, <c>90s</c>, <c>2m</c>, <c>1h</c>.</summary>
public static class Durations
{
    public const string Syntax = "a number with a unit: 1500ms, 90s, 2m or 1h";

    public static bool TryParse(string text, out TimeSpan duration)
    {
        duration = default;
        var digits = text.AsSpan().TrimEnd("hms");
        if (!double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value))
            return false;
        double? seconds = text[digits.Length..] switch
        {
            "ms" => value / 1000,
            "s" => value,
            "m" => value * 60,
            "h" => value * 3600,
            _ => null,
        };
        if (seconds is not (> 0 and < 1_000_000))
            return false;
        duration = TimeSpan.FromSeconds(seconds.Value);
        return true;
    }
}
