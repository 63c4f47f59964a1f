using Snapshots.Bench;
using Snapshots.Cli.Text;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary>The measurements of a cold host for people.</summary>
internal static class ColdHostPrinter
{
    public static void Print(IAnsiConsole output, ColdHostReport report)
    {
        var table = Consoles.Table("LATENCY", ">MEDIAN", ">P90", ">P99", ">P99.9", ">COUNT");
        BenchCommand.Add(table, "posix_spawn(\"/bin/true\") and wait", report.PosixSpawnTrue);
        BenchCommand.Add(table, "loaded whole, until running", report.WholeRunning);
        BenchCommand.Add(table, "loaded whole, until first answer", report.WholeFirstAnswer);
        BenchCommand.Add(table, "lazy, until running", report.LazyRunning);
        BenchCommand.Add(table, "lazy, until first answer", report.LazyFirstAnswer);
        BenchCommand.Add(table, "lazy with a working set, until running", report.LearnedRunning);
        BenchCommand.Add(table, "lazy with a working set, until first answer", report.LearnedFirstAnswer);
        BenchCommand.Add(table, "warm, forked on demand, until first answer", report.WarmFirstAnswer);
        BenchCommand.Add(table, "reading the working set", report.ReadWorkingSet);
        output.Write(table);
        Console.Out.WriteLine($"memory {Units.Bytes(report.PagesBytes)}, working set {Units.Bytes(report.WorkingSetBytes)}");
        if (report is { WholeReceivedBytes: { } whole, LazyReceivedBytes: { } lazy, LearnedReceivedBytes: { } learned })
            Console.Out.WriteLine($"received until the first answer: loaded whole {Units.Bytes((ulong)whole)}, lazy {Units.Bytes((ulong)lazy)}, lazy with a working set {Units.Bytes((ulong)learned)}");
        Console.Out.WriteLine($"lazy first answer by loading everything                {report.RatioLazyToWhole:0.000}");
        Console.Out.WriteLine($"first answer with a working set by warm and reading it {report.RatioLearnedToWarm:0.000}");
    }
}
