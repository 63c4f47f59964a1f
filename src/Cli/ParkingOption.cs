using System.CommandLine;
using Snapshots.RestorePool;

namespace Snapshots.Cli;

/// <summary><c>--parked N</c>: how many clones of each snapshot an engine keeps parked.</summary>
internal static class ParkingOption
{
    private const string Name = "--parked";
    private const int Most = 1024;

    public static Option<int> Create()
    {
        var option = new Option<int>(Name)
        {
            Description = "Clones of each snapshot to keep forked ahead; 0 forks every clone when it is ordered",
            HelpName = "N",
            DefaultValueFactory = _ => RestoreOptions.DefaultParkedClones,
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [.., var last] && int.TryParse(last.Value, out var count) && count is < 0 or > Most)
                result.AddError($"{Name} must be from 0 to {Most}");
        });
        return option;
    }

    public static RestoreOptions Read(ParseResult parsed) => new() { ParkedClones = parsed.GetRequiredValue<int>(Name) };
}
