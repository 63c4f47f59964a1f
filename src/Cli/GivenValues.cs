using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace Snapshots.Cli;

/// <summary>
/// What a command line says, for validators. They run before default values are there and also when a value does not parse (which the parser
/// reports itself, but asking for the value then throws): so they look at the words.
/// </summary>
internal static class GivenValues
{
    /// <summary>The number that was given; null when none was, or when it is no number.</summary>
    public static int? Number(this CommandResult result, Option option) =>
        result.GetResult(option)?.Tokens is [.., var last] && int.TryParse(last.Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null;

    /// <summary>The text that was given; null when none was.</summary>
    public static string? Words(this CommandResult result, Option option) => result.GetResult(option)?.Tokens is [.., var last] ? last.Value : null;

    public static void RequireAtLeast(this CommandResult result, Option option, int least)
    {
        if (result.Number(option) < least)
            result.AddError($"{option.Name} must be at least {least}");
    }
}
