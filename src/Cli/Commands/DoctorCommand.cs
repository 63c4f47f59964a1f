using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots doctor</c>: what this host offers, what each thing is needed for, and the cure where it is missing.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        var command = new Command("doctor", "Check kernel features, privileges and limits of this host");
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        var checks = Doctor.Examine(invocation.StoreDirectory);
        if (invocation.Json)
            Invocation.PrintJson(checks, CliJsonContext.Default.IReadOnlyListCheckRow);
        else
            Print(invocation, checks);
        return checks.Any(check => check.Status == Doctor.Missing) ? ExitCodes.IncompatibleHost : ExitCodes.Ok;
    }

    private static void Print(Invocation invocation, IReadOnlyList<CheckRow> checks)
    {
        var table = Consoles.Table("CHECK", "STATUS", "FOUND", "NEEDED FOR", "CURE");
        foreach (var check in checks)
            table.AddPlainRow(check.Name, check.Status, check.Detail, check.NeededFor, check.Cure ?? string.Empty);
        invocation.Output.Write(table);
        var missing = checks.Count(check => check.Status == Doctor.Missing);
        Console.Out.WriteLine(missing == 0 ? "This host can snapshot and clone." : $"{missing} things that are needed are missing: see CURE.");
    }
}
