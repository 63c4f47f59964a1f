using System.CommandLine;
using Snapshots.Host;
using Snapshots.PageStore.Transfer;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots import</c>: a snapshot from one file.</summary>
internal static class ImportCommand
{
    private static readonly Argument<string> File = new("FILE") { Description = "File that `snapshots export` wrote" };

    private static readonly Option<string?> Name = new("--name") { Description = "Name in this store (default: the one it was exported with); an existing one moves to the new image", HelpName = "NAME" };

    public static Command Create()
    {
        var command = new Command("import", "Read a snapshot from a file; all of it is verified before it can be seen") { File, Name };
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        var path = Path.GetFullPath(invocation.Parsed.GetRequiredValue(File));
        ExportCommand.Report(invocation, SnapshotImport.Run(HostStore.OpenWhole(invocation.StoreDirectory), path, invocation.Parsed.GetValue(Name)), path, "from");
        return ExitCodes.Ok;
    }
}
