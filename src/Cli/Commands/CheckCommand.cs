using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.PageStore.Maintenance;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots fsck</c>: looks at every byte of the store.</summary>
internal static class CheckCommand
{
    private static readonly Option<bool> Repair = new("--repair") { Description = "Drop what is proven broken, and say which snapshots are lost" };

    public static Command Create()
    {
        var command = new Command("fsck", "Check every manifest, page map, frame and page of the store") { Repair };
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        var report = Check(invocation);
        if (invocation.Json)
            Invocation.PrintJson(report, CliJsonContext.Default.StoreCheckReport);
        else
            Print(report);
        // Also when all of it was repaired: something was lost, and the next run says that the rest is whole.
        return report.Problems.Count == 0
            ? ExitCodes.Ok
            : throw new CliException(ExitCodes.ImageCorrupt, "image_corrupt", Summary(report));
    }

    private static StoreCheckReport Check(Invocation invocation)
    {
        // Looking does not make a store.
        if (!Directory.Exists(invocation.StoreDirectory))
            return new StoreCheckReport(0, 0, 0, 0, [], []);
        var report = StoreCheck.Run(HostStore.OpenWhole(invocation.StoreDirectory), invocation.Parsed.GetValue(Repair));
        return new StoreCheckReport(
            report.Snapshots, report.Packs, report.Pages, report.Bytes,
            [.. report.Problems.Select(problem => new StoreProblem(problem.Subject, problem.What, problem.Proven, problem.Repaired))],
            report.Lost);
    }

    private static void Print(StoreCheckReport report)
    {
        foreach (var problem in report.Problems)
            Console.Out.WriteLine($"{problem.Subject}: {problem.What}{(problem.Repaired ? " [dropped]" : problem.Proven ? string.Empty : " [not proven]")}");
        foreach (var name in report.Lost)
            Console.Out.WriteLine($"lost: {name}");
        Console.Out.WriteLine($"{report.Snapshots} snapshots, {report.Packs} packs, {report.Pages} pages, {Units.Bytes(report.Bytes)} checked");
    }

    private static string Summary(StoreCheckReport report)
    {
        var left = report.Problems.Count(problem => !problem.Repaired);
        return left == 0
            ? $"{report.Problems.Count} problems, all dropped; {report.Lost.Count} snapshots are lost"
            : $"{report.Problems.Count} problems, {left} of them still there: `snapshots fsck --repair` drops what is proven broken and not in use";
    }
}
