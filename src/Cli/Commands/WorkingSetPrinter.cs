using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary>A working set for people.</summary>
internal static class WorkingSetPrinter
{
    public static void Print(IAnsiConsole output, WorkingSetDetails set)
    {
        Console.Out.WriteLine($"recorded  {set.Recorded:yyyy-MM-dd HH:mm:ss}Z from {set.Clones} clones");
        Console.Out.WriteLine($"written   {Units.Bytes(set.WrittenBytes)} of private memory");
        Console.Out.WriteLine($"files     {Units.Bytes(set.FileBytes)} of mapped files");
        Console.Out.WriteLine($"read      {Units.Bytes(set.ReadBytes)} of private memory on the way to the first answer, in this order");
        var table = Consoles.Table("START", "END", "KIND", ">SIZE", "WHAT");
        foreach (var range in set.Ranges)
            table.AddPlainRow(range.Start, range.End, range.Kind, Units.Bytes(range.Bytes), range.Label);
        output.Write(table);
    }
}
