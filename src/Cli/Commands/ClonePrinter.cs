using Snapshots.Bench;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Client.V1;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary>Clones for people: what they wrote as it comes, then a table.</summary>
internal static class ClonePrinter
{
    private const int LongestAnswer = 100;

    /// <summary>What an ended clone wrote, each line with the clone's id; stdout to stdout, stderr to stderr.</summary>
    public static void PrintOutput(CloneEvent happened)
    {
        if (happened.KindCase != CloneEvent.KindOneofCase.Exited)
            return;
        var exited = happened.Exited;
        PrintLines(Console.Out, happened.Id, exited.Stdout.ToStringUtf8(), exited.StdoutBytes - (ulong)exited.Stdout.Length);
        PrintLines(Console.Error, happened.Id, exited.Stderr.ToStringUtf8(), exited.StderrBytes - (ulong)exited.Stderr.Length);
    }

    public static void Print(IAnsiConsole output, CloneOutcome outcome, bool waited)
    {
        output.Write(waited ? WaitedTable(outcome) : StartedTable(outcome));
        foreach (var failed in outcome.Rows.Where(row => row.Error is not null))
            Console.Error.WriteLine($"snapshots: clone {failed.Index} did not start: {failed.Error!.Message}");
        foreach (var ended in outcome.Rows.Where(row => row.Failure is not null))
            Console.Error.WriteLine($"snapshots: clone {ended.Id} was ended: {ended.Failure}");
        if (outcome.Rows.Count > 1)
            PrintSummary(outcome);
    }

    private static Table StartedTable(CloneOutcome outcome)
    {
        var table = Consoles.Table("ID", ">PID", ">RUNNING AFTER");
        foreach (var row in outcome.Rows.Where(row => row.Error is null))
            table.AddPlainRow(row.Id, $"{row.Pid}", Time(row.Timings?.Running));
        return table;
    }

    private static Table WaitedTable(CloneOutcome outcome)
    {
        var table = Consoles.Table("ID", ">RUNNING AFTER", ">ANSWERED AFTER", ">ENDED AFTER", "STATUS", "ANSWER");
        foreach (var row in outcome.Rows.Where(row => row.Error is null))
            table.AddPlainRow(row.Id, Time(row.Timings?.Running), Time(row.Timings?.FirstAnswer), Time(row.Timings?.Exit), Status(row), Shortened(row.Answer));
        return table;
    }

    private static void PrintSummary(CloneOutcome outcome)
    {
        var running = new LatencyRecorder();
        var answered = new LatencyRecorder();
        foreach (var timings in outcome.Rows.Select(row => row.Timings).OfType<TimingsRow>())
        {
            running.Add(timings.Running);
            if (timings.FirstAnswer is { } first)
                answered.Add(first);
        }
        Console.Out.WriteLine($"{outcome.Rows.Count} clones, {outcome.Rows.Count(row => row.Error is not null)} did not start");
        PrintLatency("running", running);
        PrintLatency("first answer", answered);
    }

    private static void PrintLatency(string what, LatencyRecorder latencies)
    {
        if (latencies.Summarise() is { } summary)
            Console.Out.WriteLine($"{what}: median {Units.Microseconds(summary.Median)}, p90 {Units.Microseconds(summary.P90)}, p99 {Units.Microseconds(summary.P99)}");
    }

    private static void PrintLines(TextWriter writer, string id, string text, ulong missingBytes)
    {
        if (text.Length == 0)
            return;
        foreach (var line in text.TrimEnd('\n').Split('\n'))
            writer.WriteLine($"{id} | {line}");
        if (missingBytes > 0)
            writer.WriteLine($"{id} | [{missingBytes} more bytes: snapshots logs {id}]");
    }

    private static string Status(CloneRow row) => row switch
    {
        { ExitCode: { } code } => $"exit code {code}",
        { Signal: { } signal } => $"signal {signal}",
        _ => "running",
    };

    private static string Time(double? microseconds) => microseconds is { } value ? Units.Microseconds(value) : "-";

    private static string Shortened(string? answer) => answer switch
    {
        null => "-",
        { Length: > LongestAnswer } => answer[..LongestAnswer] + "…",
        _ => answer,
    };
}
