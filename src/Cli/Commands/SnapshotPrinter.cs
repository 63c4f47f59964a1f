using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary>A snapshot for people.</summary>
internal static class SnapshotPrinter
{
    public static void Print(IAnsiConsole output, SnapshotDetails details)
    {
        PrintSummary(details);
        foreach (var process in details.Processes)
        {
            Console.Out.WriteLine();
            Console.Out.WriteLine($"process {process.Pid} {process.Name}: {process.Executable} in {process.WorkingDirectory}, host name {process.Hostname}");
            output.Write(Threads(process));
            output.Write(Mappings(process));
            PrintSharing(process);
            output.Write(Descriptors(process));
        }
        foreach (var memory in details.SharedMemory)
            Console.Out.WriteLine($"shared memory {memory.Id} {memory.Name}: {Units.Bytes(memory.Bytes)}, {Units.Bytes(memory.StoredBytes)} stored; each clone gets its own copy");
    }

    private static void PrintSummary(SnapshotDetails details)
    {
        var snapshot = details.Snapshot;
        Console.Out.WriteLine($"name      {snapshot.Name}");
        Console.Out.WriteLine($"digest    {snapshot.Digest}");
        Console.Out.WriteLine($"created   {snapshot.Created:yyyy-MM-dd HH:mm:ss}Z on kernel {details.Host.KernelRelease}");
        Console.Out.WriteLine(snapshot.Layer is { } layer
            ? $"layer of  {layer.Text}"
            : $"command   {(snapshot.Command.Count > 0 ? string.Join(' ', snapshot.Command) : "(was running already)")}");
        Console.Out.WriteLine($"ready     {snapshot.Readiness}{(details.ReadyMicroseconds is { } ready ? $", {Units.Microseconds(ready)} after its launch" : string.Empty)}");
        Console.Out.WriteLine($"stopped   {Units.Microseconds(details.StoppedMicroseconds)}");
        Console.Out.WriteLine($"memory    {Units.Bytes(snapshot.ResidentBytes)} resident, {Units.Bytes(snapshot.PagesBytes)} stored");
        foreach (var remark in details.Remarks)
            Console.Out.WriteLine($"remark    {remark}");
    }

    private static Table Threads(ProcessDetails process)
    {
        var table = Consoles.Table(">TID", "THREAD", "STOPPED IN", "SIGNALS BLOCKED");
        foreach (var thread in process.Threads)
            table.AddPlainRow($"{thread.Tid}", thread.Name, thread.StoppedIn, thread.SignalMask);
        return table;
    }

    private static Table Mappings(ProcessDetails process)
    {
        var table = Consoles.Table("START", "END", "PROT", "KIND", "SHARED WITH", ">SIZE", ">STORED", "WHAT");
        foreach (var mapping in process.Mappings)
            table.AddPlainRow(mapping.Start, mapping.End, mapping.Protection, mapping.Kind, mapping.Sharing, Units.Bytes(mapping.Bytes), Units.Bytes(mapping.StoredBytes), mapping.Label);
        return table;
    }

    private static void PrintSharing(ProcessDetails process)
    {
        foreach (var group in process.Mappings.GroupBy(mapping => mapping.Sharing).OrderBy(group => group.Key, StringComparer.Ordinal))
            Console.Out.WriteLine($"shared with {group.Key}: {group.Count()} mappings, {Units.Bytes(group.Sum(mapping => (double)mapping.Bytes))}, {Units.Bytes(group.Sum(mapping => (double)mapping.StoredBytes))} stored");
    }

    private static Table Descriptors(ProcessDetails process)
    {
        var table = Consoles.Table(">FD", "KIND", "WHAT", "CLOSE ON EXEC");
        foreach (var descriptor in process.Descriptors)
            table.AddPlainRow($"{descriptor.Fd}", descriptor.Kind, descriptor.Description, descriptor.CloseOnExec ? "yes" : "no");
        return table;
    }
}
