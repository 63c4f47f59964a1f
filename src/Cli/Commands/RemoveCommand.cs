using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots rm</c>: removes snapshots; clones that run go on.</summary>
internal static class RemoveCommand
{
    private static readonly Argument<string[]> Names = new("NAME") { Description = "Snapshots to remove", Arity = ArgumentArity.OneOrMore };

    public static Command Create()
    {
        var command = new Command("rm", "Remove snapshots from the store, and their pages when no other snapshot uses them") { Names };
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        var store = HostStore.Open(invocation.StoreDirectory);
        var removed = new List<RemovedSnapshot>();
        foreach (var name in invocation.Parsed.GetRequiredValue(Names))
        {
            var report = store.Remove(name);
            removed.Add(new RemovedSnapshot(name, report.FreedBytes));
            if (report.KeptBecause is { } reason)
                invocation.Remark($"snapshots: pages were kept: {reason}");
            if (!invocation.Json)
                Console.Out.WriteLine($"removed {name}, {Units.Bytes(report.FreedBytes)} freed");
        }
        if (invocation.Json)
            Invocation.PrintJson(removed, CliJsonContext.Default.IReadOnlyListRemovedSnapshot);
        return ExitCodes.Ok;
    }
}
