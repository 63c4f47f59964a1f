using System.Globalization;

namespace Snapshots.Cli.Text;

/// <summary>Quantities as people read them.</summary>
public static class Units
{
    /// <summary>Powers of 1024, three figures.</summary>
    public static string Bytes(double bytes)
    {
        ReadOnlySpan<string> units = ["B", "KiB", "MiB", "GiB", "TiB"];
        var unit = 0;
        for (; bytes >= 1024 && unit < units.Length - 1; unit++)
            bytes /= 1024;
        return unit == 0 ? string.Create(CultureInfo.InvariantCulture, $"{bytes:0} B") : $"{ThreeFigures(bytes)} {units[unit]}";
    }

    public static string Kibibytes(double kibibytes) => Bytes(kibibytes * 1024);

    public static string Microseconds(double microseconds) => microseconds switch
    {
        < 1_000 => $"{ThreeFigures(microseconds)} µs",
        < 1_000_000 => $"{ThreeFigures(microseconds / 1_000)} ms",
        < 120_000_000 => $"{ThreeFigures(microseconds / 1_000_000)} s",
        < 7_200_000_000 => $"{ThreeFigures(microseconds / 60_000_000)} min",
        < 172_800_000_000 => $"{ThreeFigures(microseconds / 3_600_000_000)} h",
        _ => $"{ThreeFigures(microseconds / 86_400_000_000)} days",
    };

    /// <summary>How long ago, coarsely.</summary>
    public static string Ago(DateTimeOffset then, DateTimeOffset now) => $"{Microseconds(Math.Max(0, (now - then).TotalMicroseconds))} ago";

    private static string ThreeFigures(double value) => value switch
    {
        >= 100 => value.ToString("0", CultureInfo.InvariantCulture),
        >= 10 => value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => value.ToString("0.00", CultureInfo.InvariantCulture),
    };
}
