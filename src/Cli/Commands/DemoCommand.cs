using System.CommandLine;
using Snapshots.Bench;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.Images;
using Snapshots.RestorePool;
using Snapshots.Snapshotter;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots demo</c>: the main job on a real worker, in a store of its own that is removed afterwards.</summary>
internal static class DemoCommand
{
    private const string SnapshotName = "demo";

    private static readonly Option<int> Count = new("--count", "-n") { Description = "Clones to launch side by side", HelpName = "N", DefaultValueFactory = _ => 200 };

    private static readonly Option<string?> Worker = new("--worker") { Description = "The Python worker (default: examples/python/worker.py of the repository)", HelpName = "FILE" };

    public static Command Create()
    {
        var command = new Command("demo", "Snapshot a Python worker, launch 200 clones side by side, check every answer") { Count, Worker };
        command.Validators.Add(result => result.RequireAtLeast(Count, 1));
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation, CancellationToken cancellation)
    {
        var worker = FindWorker(invocation.Parsed.GetValue(Worker));
        var directory = Directory.CreateTempSubdirectory("snapshots-demo-");
        try
        {
            var store = HostStore.Open(directory.FullName);
            invocation.Remark($"starting {worker} until it is warm, and freezing it");
            CreateSnapshot(store, worker, cancellation);
            using var image = store.OpenImage(SnapshotName);
            invocation.Remark("starting it cold, for comparison");
            var cold = MeasureColdStart(image, cancellation);
            using var engine = RestoreEngine.Start(new RestoreOptions());
            var report = new DemoRun(engine, image, invocation.Parsed.GetValue(Count), invocation.Remark).Run(cold, cancellation);
            if (invocation.Json)
                Invocation.PrintJson(report, CliJsonContext.Default.DemoReport);
            else
                Print(invocation.Output, report);
            return ExitCodes.Ok;
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private static void CreateSnapshot(ImageStore store, string worker, CancellationToken cancellation)
    {
        using var creator = new SnapshotCreator(store);
        var request = CreateCommand.LaunchRequest(SnapshotName, ["python3", worker], "channel", TimeSpan.FromMinutes(2));
        creator.Create(request, progress: null, cancellation);
    }

    private static double MeasureColdStart(SnapshotImage image, CancellationToken cancellation)
    {
        const int Starts = 3;
        using var coldStart = ColdStart.For(image.Manifest, new BenchOptions { PayloadJson = "{\"key\":1}" })
            ?? throw new InvalidOperationException("the demo's snapshot has no command or no channel");
        var latencies = new LatencyRecorder();
        for (var i = 0; i < Starts; i++)
            latencies.Add(coldStart.Measure(cancellation));
        return latencies.Required().Median;
    }

    private static string FindWorker(string? given)
    {
        if (given is not null)
            return File.Exists(given) ? Path.GetFullPath(given) : throw new CliException(ExitCodes.NotFound, "not_found", $"--worker {given}: no such file");
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            var candidate = Path.Combine(directory.FullName, "examples", "python", "worker.py");
            if (File.Exists(candidate))
                return candidate;
        }
        throw new CliException(ExitCodes.NotFound, "not_found", "examples/python/worker.py is not above this program: name the worker with --worker");
    }

    private static void Print(IAnsiConsole output, DemoReport report)
    {
        var table = Consoles.Table("A PYTHON WORKER", ">");
        table.AddPlainRow("cold start until first answer", Units.Microseconds(report.ColdStartMicroseconds));
        table.AddPlainRow("snapshot: stopped for", Units.Microseconds(report.StoppedMicroseconds));
        table.AddPlainRow("snapshot: stored", Units.Bytes(report.PagesBytes));
        table.AddPlainRow("clone until running, median", Units.Microseconds(report.CloneRunning.Median));
        table.AddPlainRow("clone until running, p99", Units.Microseconds(report.CloneRunning.P99));
        table.AddPlainRow("clone until first answer, median", Units.Microseconds(report.CloneFirstAnswer.Median));
        table.AddPlainRow("clone until first answer, p99", Units.Microseconds(report.CloneFirstAnswer.P99));
        table.AddPlainRow("cold start by first answer of a clone", $"{report.ColdStartMicroseconds / report.CloneFirstAnswer.Median:0} times");
        table.AddPlainRow("clones per second (start, answer, end)", $"{report.ClonesPerSecond:0.0}");
        table.AddPlainRow($"private memory of a waiting clone, {report.Clones} at once", Units.Kibibytes(report.PrivateKibPerClone));
        table.AddPlainRow($"PSS of a waiting clone, {report.Clones} at once", Units.Kibibytes(report.PssKibPerClone));
        table.AddPlainRow("answers checked", $"{report.AnswersChecked}, all right");
        table.AddPlainRow("saved on a million starts", $"{report.SavedHoursPerMillionStarts:0.0} hours of waiting");
        output.Write(table);
    }
}
