using System.CommandLine;
using Snapshots.Cli.Text;
using Snapshots.Linux;
using Snapshots.RestorePool;

namespace Snapshots.Cli;

/// <summary>The options of verbs that run a restore engine.</summary>
internal static class EngineOptions
{
    private const string Parked = "--parked";
    private const string HostClocks = "--host-clocks";
    private const string LazyFrom = "--lazy-from";
    private const string Always = "always";
    private const string Never = "never";
    private const int MostParked = 1024;
    private const string Prefault = "--prefault";
    private const int MostPrefaulted = 1 << 20;

    /// <summary>A command has options of its own: they are made anew for each.</summary>
    public static void AddTo(Command command)
    {
        command.Add(CreateNumber(Parked, MostParked, RestoreOptions.DefaultParkedClones, "Clones of each snapshot to keep forked ahead; 0 forks every clone when it is ordered"));
        command.Add(CreateNumber(Prefault, MostPrefaulted, (int)RestoreOptions.DefaultPrefaultedPages, "Most pages that a clone gets copies of at its birth because the first clones all wrote to them; 0 leaves it to page faults"));
        command.Add(CreateLazyFrom());
        command.Add(new Option<bool>(HostClocks) { Description = "Leave clones the host's monotonic clock instead of letting theirs go on where it stood" });
    }

    public static RestoreOptions Read(ParseResult parsed) => new()
    {
        ParkedClones = parsed.GetRequiredValue<int>(Parked),
        HostClocks = parsed.GetValue<bool>(HostClocks),
        LazyFromBytes = parsed.GetValue<string?>(LazyFrom) is { } text && TryParse(text, out var bytes) ? bytes : DefaultLazyFrom(),
        PrefaultedPages = (ulong)parsed.GetRequiredValue<int>(Prefault),
    };

    /// <summary>Whoever asks for it where it cannot be had is refused; whoever does not ask has snapshots loaded whole there (doctor tells).</summary>
    private static long? DefaultLazyFrom() => KernelFeatures.Probe().Userfaultfd.Available ? RestoreOptions.DefaultLazyFromBytes : null;

    private static Option<string?> CreateLazyFrom()
    {
        var option = new Option<string?>(LazyFrom)
        {
            Description = $"Start the first clones of snapshots with at least so much memory before it is loaded; {Always} or {Never}",
            HelpName = "SIZE",
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [.., var last] && !TryParse(last.Value, out _))
                result.AddError($"{LazyFrom} must be {Always}, {Never}, or {Sizes.Syntax}");
        });
        return option;
    }

    /// <summary>Bytes; null for never.</summary>
    private static bool TryParse(string text, out long? bytes)
    {
        var parsed = Sizes.TryParse(text, out var size);
        bytes = parsed ? size : text == Always ? 0 : null;
        return parsed || text is Always or Never;
    }

    private static Option<int> CreateNumber(string name, int most, int otherwise, string description)
    {
        var option = new Option<int>(name) { Description = description, HelpName = "N", DefaultValueFactory = _ => otherwise };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [.., var last] && int.TryParse(last.Value, out var number) && (number < 0 || number > most))
                result.AddError($"{name} must be from 0 to {most}");
        });
        return option;
    }
}
