using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.Images;

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
        var missing = new List<string>();
        foreach (var name in invocation.Parsed.GetRequiredValue(Names))
        {
            if (Remove(invocation, store, name) is { } done)
                removed.Add(done);
            else
                missing.Add(name);
        }
        if (invocation.Json)
            Invocation.PrintJson(removed, CliJsonContext.Default.IReadOnlyListRemovedSnapshot);
        return missing.Count == 0
            ? ExitCodes.Ok
            : throw new CliException(ExitCodes.NotFound, "not_found", $"no snapshot is called {string.Join(", ", missing)}: `snapshots ls` lists them");
    }

    // Null when there is none of that name; the others are removed all the same.
    private static RemovedSnapshot? Remove(Invocation invocation, ImageStore store, string name)
    {
        try
        {
            var report = store.Remove(name);
            if (report.KeptBecause is { } reason)
                invocation.Remark($"snapshots: pages were kept: {reason}");
            if (!invocation.Json)
                Console.Out.WriteLine($"removed {name}, {Units.Bytes(report.FreedBytes)} freed");
            return new RemovedSnapshot(name, report.FreedBytes);
        }
        catch (ImageException e) when (e.Failure == ImageFailure.NotFound)
        {
            return null;
        }
    }
}
