using System.CommandLine;
using Snapshots.RestorePool;

namespace Snapshots.Cli;

/// <summary>The options of verbs that run a restore engine.</summary>
internal static class EngineOptions
{
    private const string Parked = "--parked";
    private const string HostClocks = "--host-clocks";
    private const int MostParked = 1024;

    /// <summary>A command has options of its own: they are made anew for each.</summary>
    public static void AddTo(Command command)
    {
        command.Add(CreateParked());
        command.Add(new Option<bool>(HostClocks) { Description = "Leave clones the host's monotonic clock instead of letting theirs go on where it stood" });
    }

    public static RestoreOptions Read(ParseResult parsed) => new()
    {
        ParkedClones = parsed.GetRequiredValue<int>(Parked),
        HostClocks = parsed.GetValue<bool>(HostClocks),
    };

    private static Option<int> CreateParked()
    {
        var option = new Option<int>(Parked)
        {
            Description = "Clones of each snapshot to keep forked ahead; 0 forks every clone when it is ordered",
            HelpName = "N",
            DefaultValueFactory = _ => RestoreOptions.DefaultParkedClones,
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [.., var last] && int.TryParse(last.Value, out var count) && count is < 0 or > MostParked)
                result.AddError($"{Parked} must be from 0 to {MostParked}");
        });
        return option;
    }
}
