using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots ls</c>: what the store holds.</summary>
internal static class ListCommand
{
    private const int LongestCommand = 60;

    public static Command Create()
    {
        var command = new Command("ls", "List the snapshots of the store");
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        var damaged = new List<string>();
        var rows = List(invocation.StoreDirectory, damaged);
        if (invocation.Json)
            Invocation.PrintJson(rows, CliJsonContext.Default.IReadOnlyListSnapshotRow);
        else
            Print(invocation, rows);
        // One damaged image must not hide the others, nor pass for a complete list.
        return damaged.Count == 0 ? ExitCodes.Ok : throw new CliException(ExitCodes.ImageCorrupt, "image_corrupt", string.Join("; ", damaged));
    }

    private static IReadOnlyList<SnapshotRow> List(string storeDirectory, List<string> damaged)
    {
        // Looking does not make a store.
        if (!Directory.Exists(storeDirectory))
            return [];
        var rows = new List<SnapshotRow>();
        foreach (var entry in HostStore.Open(storeDirectory).List())
        {
            if (entry is { Digest: { } digest, Manifest: { } manifest })
                rows.Add(SnapshotRows.Describe(entry.Name, digest, manifest));
            else
                damaged.Add($"{entry.Name}: {entry.Problem?.Message}");
        }
        return rows;
    }

    private static void Print(Invocation invocation, IReadOnlyList<SnapshotRow> rows)
    {
        var table = Consoles.Table("NAME", "DIGEST", "CREATED", ">PAGES", ">THREADS", ">MAPPINGS", "READY", "COMMAND");
        var now = DateTimeOffset.UtcNow;
        foreach (var row in rows)
            table.AddPlainRow(row.Name, ShortDigest(row.Digest), Units.Ago(row.Created, now), Units.Bytes(row.PagesBytes), $"{row.Threads}", $"{row.Mappings}", row.Readiness, Shortened(row.Layer is { } layer ? $"(layer of {layer.Parent})" : string.Join(' ', row.Command)));
        invocation.Output.Write(table);
    }

    private static string ShortDigest(string digest) => digest.Length > 19 ? digest[..19] : digest;

    private static string Shortened(string command) => command.Length > LongestCommand ? command[..LongestCommand] + "…" : command;
}
