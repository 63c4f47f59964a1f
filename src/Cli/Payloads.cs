using System.Text.Json;

namespace Snapshots.Cli;

/// <summary>What clones read from their channels, from the command line.</summary>
public static class Payloads
{
    /// <summary>None, one for all, or one for each line of the file that is not blank; each is valid JSON, on one line.</summary>
    /// <param name="payload"><c>--payload</c>.</param>
    /// <param name="file"><c>--payloads</c>; <c>-</c> is stdin.</param>
    /// <exception cref="CliException">Not JSON, or no such file; names the line.</exception>
    public static IReadOnlyList<string> Read(string? payload, string? file)
    {
        if (payload is not null)
            return [Compact(payload, "--payload")];
        if (file is null)
            return [];
        var payloads = ReadLines(file)
            .Select((line, index) => (Line: line, Number: index + 1))
            .Where(entry => !string.IsNullOrWhiteSpace(entry.Line))
            .Select(entry => Compact(entry.Line, $"{file} line {entry.Number}"))
            .ToList();
        return payloads.Count > 0 ? payloads : throw CliException.Usage($"{file} holds no payload: write one JSON value on each line");
    }

    // The channel carries one object per line, so the payload must not hold a line break.
    private static string Compact(string json, string where)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return json.AsSpan().ContainsAny('\n', '\r') ? JsonSerializer.Serialize(document.RootElement, Json.CliJsonContext.Default.JsonElement) : json.Trim();
        }
        catch (JsonException e)
        {
            throw CliException.Usage($"{where} is not JSON: {e.Message}");
        }
    }

    private static IEnumerable<string> ReadLines(string file)
    {
        if (file != "-")
        {
            return File.Exists(file)
                ? File.ReadLines(file)
                : throw CliException.Usage($"--payloads {file}: no such file");
        }
        var lines = new List<string>();
        while (Console.In.ReadLine() is { } line)
            lines.Add(line);
        return lines;
    }
}
