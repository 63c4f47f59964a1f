using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.PageStore.Transfer;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots export</c>: one snapshot as one file.</summary>
internal static class ExportCommand
{
    private static readonly Argument<string> Name = new("NAME") { Description = "Snapshot: its name, or sha256:…" };

    private static readonly Argument<string> File = new("FILE") { Description = "File to write; an existing one is replaced" };

    public static Command Create()
    {
        var command = new Command("export", "Write a snapshot to one file, with nothing of other snapshots in it") { Name, File };
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        var path = Path.GetFullPath(invocation.Parsed.GetRequiredValue(File));
        Report(invocation, SnapshotExport.Run(HostStore.OpenWhole(invocation.StoreDirectory), invocation.Parsed.GetRequiredValue(Name), path), path, "to");
        return ExitCodes.Ok;
    }

    /// <summary>Tells what an export or import carried.</summary>
    public static void Report(Invocation invocation, TransferReport report, string path, string direction)
    {
        if (invocation.Json)
            Invocation.PrintJson(new TransferredSnapshot(report.Name, report.Digest.ToString(), report.PagesBytes, report.FileBytes, path), CliJsonContext.Default.TransferredSnapshot);
        else
            Console.Out.WriteLine($"{report.Name} {direction} {path}: {Units.Bytes(report.PagesBytes)} of pages, {Units.Bytes(report.FileBytes)} of file, {report.Digest}");
    }
}
