using System.CommandLine;
using Snapshots.RestorePool;

namespace Snapshots.Cli;

/// <summary>The options of verbs that run a restore engine.</summary>
internal static class EngineOptions
{
    private const string Parked = "--parked";
    private const string HostClocks = "--host-clocks";
    private const int MostParked = 1024;
    private const string Prefault = "--prefault";
    private const int MostPrefaulted = 1 << 20;

    /// <summary>A command has options of its own: they are made anew for each.</summary>
    public static void AddTo(Command command)
    {
        command.Add(CreateNumber(Parked, MostParked, RestoreOptions.DefaultParkedClones, "Clones of each snapshot to keep forked ahead; 0 forks every clone when it is ordered"));
        command.Add(CreateNumber(Prefault, MostPrefaulted, (int)RestoreOptions.DefaultPrefaultedPages, "Most pages that a clone gets copies of at its birth because the first clones all wrote to them; 0 leaves it to page faults"));
        command.Add(new Option<bool>(HostClocks) { Description = "Leave clones the host's monotonic clock instead of letting theirs go on where it stood" });
    }

    public static RestoreOptions Read(ParseResult parsed) => new()
    {
        ParkedClones = parsed.GetRequiredValue<int>(Parked),
        HostClocks = parsed.GetValue<bool>(HostClocks),
        PrefaultedPages = (ulong)parsed.GetRequiredValue<int>(Prefault),
    };

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
