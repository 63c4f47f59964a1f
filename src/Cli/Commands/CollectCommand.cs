using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.PageStore.Maintenance;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots gc</c>: gives back what no snapshot reaches.</summary>
internal static class CollectCommand
{
    public static Command Create()
    {
        var command = new Command("gc", "Remove what no snapshot reaches, and rewrite packs of which less than half is reached");
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        // Looking does not make a store.
        var report = Directory.Exists(invocation.StoreDirectory)
            ? GarbageCollection.Run(HostStore.OpenWhole(invocation.StoreDirectory))
            : new CollectionReport(0, 0, 0, null);
        if (report.KeptBecause is { } reason)
            invocation.Remark($"snapshots: something was kept: {reason}");
        if (invocation.Json)
            Invocation.PrintJson(new CollectedGarbage(report.RemovedFiles, report.RewrittenPacks, report.FreedBytes, report.KeptBecause), CliJsonContext.Default.CollectedGarbage);
        else
            Console.Out.WriteLine($"{report.RemovedFiles} files removed, {report.RewrittenPacks} packs rewritten, {Units.Bytes(report.FreedBytes)} freed");
        return ExitCodes.Ok;
    }
}
