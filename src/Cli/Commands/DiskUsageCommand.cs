using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.PageStore.Maintenance;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots df</c>: who uses how much of the store.</summary>
internal static class DiskUsageCommand
{
    public static Command Create()
    {
        var command = new Command("df", "Show what the store holds and what each snapshot takes of it");
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        // Looking does not make a store.
        var usage = Directory.Exists(invocation.StoreDirectory)
            ? StoreUsage.Measure(HostStore.OpenWhole(invocation.StoreDirectory))
            : new StoreUsage([], 0, 0, 0, 0, []);
        if (invocation.Json)
            Invocation.PrintJson(Shape(usage), CliJsonContext.Default.StoreUsageReport);
        else
            Print(invocation, usage);
        return usage.Damaged.Count == 0 ? ExitCodes.Ok : throw new CliException(ExitCodes.ImageCorrupt, "image_corrupt", string.Join("; ", usage.Damaged));
    }

    private static StoreUsageReport Shape(StoreUsage usage) => new(
        [.. usage.Snapshots.Select(snapshot => new SnapshotUsageRow(snapshot.Name, snapshot.LogicalBytes, snapshot.StoredBytes, snapshot.ExclusiveBytes, snapshot.FreesBytes))],
        usage.LogicalBytes, usage.UniqueBytes, usage.StoredBytes, usage.GarbageBytes, usage.Remote?.Address, usage.Remote?.CacheBytes, usage.Remote?.CacheLimitBytes);

    private static void Print(Invocation invocation, StoreUsage usage)
    {
        var table = Consoles.Table("NAME", ">PAGES", ">STORED", ">ALONE", ">RM FREES");
        foreach (var row in usage.Snapshots)
            table.AddPlainRow(row.Name, Units.Bytes(row.LogicalBytes), Units.Bytes(row.StoredBytes), Units.Bytes(row.ExclusiveBytes), Units.Bytes(row.FreesBytes));
        invocation.Output.Write(table);
        Console.Out.WriteLine($"pages     {Units.Bytes(usage.LogicalBytes)} in all snapshots, {Units.Bytes(usage.UniqueBytes)} distinct");
        Console.Out.WriteLine($"stored    {Units.Bytes(usage.StoredBytes)} compressed, with manifests and tables");
        Console.Out.WriteLine($"garbage   {Units.Bytes(usage.GarbageBytes)} that no snapshot reaches");
        if (usage.Remote is { } remote)
            Console.Out.WriteLine($"packs     in {remote.Address}; {Units.Bytes(remote.CacheBytes)} of the cache's {Units.Bytes(remote.CacheLimitBytes)} in use");
    }
}
