using System.CommandLine;
using Snapshots.Cli.Text;
using Snapshots.Linux;

namespace Snapshots.Cli;

/// <summary><c>--template-memory SIZE</c>: how much memory all templates together may have.</summary>
internal static class TemplateMemoryOption
{
    private const string Name = "--template-memory";
    private const string Variable = "SNAPSHOTS_TEMPLATE_MEMORY";
    private const string NoLimit = "none";

    public static Option<string?> Create()
    {
        var option = new Option<string?>(Name)
        {
            Description = $"Memory that templates may have before unused ones are dropped, or {NoLimit} (default: ${Variable}, else half of the host's)",
            HelpName = "SIZE",
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [.., var last] && !TryParse(last.Value, out _))
                result.AddError($"{Name} must be {NoLimit}, or {Sizes.Syntax}");
        });
        return option;
    }

    /// <summary>Bytes; null for no limit.</summary>
    /// <exception cref="CliException">The environment variable holds no size.</exception>
    public static long? Read(ParseResult parsed)
    {
        if (parsed.GetValue<string?>(Name) is { } given && TryParse(given, out var bytes))
            return bytes;
        if (Environment.GetEnvironmentVariable(Variable) is not { Length: > 0 } text)
            return HalfOfTheHost();
        return TryParse(text, out bytes)
            ? bytes
            : throw new CliException(ExitCodes.Usage, "usage", $"${Variable} is \"{text}\"; it must be {NoLimit}, or {Sizes.Syntax}");
    }

    private static bool TryParse(string text, out long? bytes)
    {
        var parsed = Sizes.TryParse(text, out var size);
        bytes = parsed ? size : null;
        return parsed || text == NoLimit;
    }

    private static long? HalfOfTheHost() =>
        HostLimits.Read().Single(limit => limit.Name == "MemTotal").Value is { } kib ? (long)kib * 1024 / 2 : null;
}
