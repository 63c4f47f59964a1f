using System.CommandLine;
using Snapshots.Bench;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.RestorePool;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots bench</c>: how fast clones of a snapshot are, beside what the machine itself takes.</summary>
internal static class BenchCommand
{
    private static readonly Argument<string> Name = new("NAME") { Description = "Snapshot: its name, or sha256:…" };

    private static readonly Option<int> Count = new("--count", "-n") { Description = "Clones whose latency is measured", HelpName = "N", DefaultValueFactory = _ => 200 };

    private static readonly Option<int> ColdCount = new("--cold-count") { Description = "Cold starts of the recorded command to compare with", HelpName = "N", DefaultValueFactory = _ => 5 };

    private static readonly Option<int> LiveCount = new("--live-count") { Description = "Clones that are alive at once while their memory is read", HelpName = "N", DefaultValueFactory = _ => 20 };

    private static readonly Option<string?> Payload = new("--payload") { Description = "JSON that every clone reads from its channel", HelpName = "JSON" };

    private static readonly Option<string?> RequestPath = new("--path") { Description = "What HTTP workers are asked (default: the path of their readiness probe)", HelpName = "PATH" };

    private static readonly Option<int> ColdHost = new("--cold-host")
    {
        Description = "Measure instead the first clone on a host that has nothing of the snapshot in memory, in N rounds; drops the host's page cache",
        HelpName = "N",
    };

    public static Command Create()
    {
        var command = new Command("bench", "Measure clones of a snapshot against cold start, posix_spawn and fork, in one run") { Name, Count, ColdCount, LiveCount, Payload, RequestPath, ColdHost };
        EngineOptions.AddTo(command);
        command.Validators.Add(result =>
        {
            result.RequireAtLeast(Count, 1);
            result.RequireAtLeast(ColdCount, 0);
            result.RequireAtLeast(LiveCount, 1);
            result.RequireAtLeast(ColdHost, 0);
            if (result.Words(RequestPath) is { } path && !path.StartsWith('/'))
                result.AddError("--path must begin with /");
        });
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation, CancellationToken cancellation)
    {
        var options = new BenchOptions
        {
            Count = invocation.Parsed.GetValue(Count),
            ColdCount = invocation.Parsed.GetValue(ColdCount),
            LiveClones = invocation.Parsed.GetValue(LiveCount),
            PayloadJson = Payloads.Read(invocation.Parsed.GetValue(Payload), null).FirstOrDefault(),
            RequestPath = invocation.Parsed.GetValue(RequestPath),
        };
        if (invocation.Parsed.GetValue(ColdHost) is > 0 and var rounds)
            return RunColdHost(invocation, options, rounds, cancellation);
        using var image = HostStore.Open(invocation.StoreDirectory).OpenImage(invocation.Parsed.GetRequiredValue(Name));
        using var engine = RestoreEngine.Start(EngineOptions.Read(invocation.Parsed));
        using var coldStart = options.ColdCount > 0 ? ColdStart.For(image.Manifest, options) : null;
        var report = new BenchRun(engine, image, options, invocation.Remark, coldStart).Run(cancellation);
        if (invocation.Json)
            Invocation.PrintJson(report, CliJsonContext.Default.BenchReport);
        else
            Print(invocation.Output, report);
        return ExitCodes.Ok;
    }

    private static int RunColdHost(Invocation invocation, BenchOptions options, int rounds, CancellationToken cancellation)
    {
        var name = invocation.Parsed.GetRequiredValue(Name);
        ColdCopy NewCopy() => ColdCopy.Of(invocation.StoreDirectory, HostStore.OpenWhole, name);
        var report = new ColdHostRun(NewCopy, EngineOptions.Read(invocation.Parsed), options, rounds, invocation.Remark).Run(cancellation);
        if (invocation.Json)
            Invocation.PrintJson(report, CliJsonContext.Default.ColdHostReport);
        else
            ColdHostPrinter.Print(invocation.Output, report);
        return ExitCodes.Ok;
    }

    private static void Print(IAnsiConsole output, BenchReport report)
    {
        var table = Consoles.Table("LATENCY", ">MEDIAN", ">P90", ">P99", ">P99.9", ">COUNT");
        Add(table, "posix_spawn(\"/bin/true\") and wait", report.Floors.PosixSpawnTrue);
        Add(table, "fork of the same size", report.Floors.ForkSameSize);
        Add(table, "cold start until first answer", report.ColdStartFirstAnswer);
        Add(table, "clone until running, parked", report.CloneRunning);
        Add(table, "  order", report.Phases.Order);
        Add(table, "  descriptors", report.Phases.Descriptors);
        Add(table, "  threads", report.Phases.Threads);
        Add(table, "  finish", report.Phases.Finish);
        Add(table, "clone until first answer, parked", report.CloneFirstAnswer);
        var demand = report.OnDemand;
        Add(table, "clone until running, forked on demand", demand.CloneRunning);
        Add(table, "  order", demand.Phases.Order);
        Add(table, "  fork", demand.Phases.Fork);
        Add(table, "  sandbox", demand.Phases.Sandbox);
        Add(table, "  descriptors", demand.Phases.Descriptors);
        Add(table, "  threads", demand.Phases.Threads);
        Add(table, "  finish", demand.Phases.Finish);
        Add(table, "clone until first answer, forked on demand", demand.CloneFirstAnswer);
        output.Write(table);
        Console.Out.WriteLine($"clone until running by posix_spawn   {report.RatioRunningToPosixSpawn:0.00} parked ({report.ParkedShare:P0} of them were), {demand.RatioRunningToPosixSpawn:0.00} forked on demand");
        if (report.RatioColdStartToFirstAnswer is { } ratio)
            Console.Out.WriteLine($"cold start by first answer           {ratio:0.0}");
        Console.Out.WriteLine($"clones per second                    {report.ClonesPerSecond:0.0} (start, answer, end; {report.LauncherThreads} threads)");
        Console.Out.WriteLine($"memory of an idle clone              {Units.Kibibytes(report.PrivateKibPerClone)} private, {Units.Kibibytes(report.PssKibPerClone)} PSS (mean of {report.LiveClonesMeasured} at once)");
        Console.Out.WriteLine($"template built in                    {Units.Microseconds(report.TemplatePreparedMicroseconds)}");
    }

    public static void Add(Table table, string what, LatencySummary? latency)
    {
        if (latency is not null)
            table.AddPlainRow(what, Units.Microseconds(latency.Median), Units.Microseconds(latency.P90), Units.Microseconds(latency.P99), Units.Microseconds(latency.P999), $"{latency.Count}");
    }
}
