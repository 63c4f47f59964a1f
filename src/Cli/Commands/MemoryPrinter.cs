using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary>The memory of a snapshot's processes for people.</summary>
internal static class MemoryPrinter
{
    public static void Print(IAnsiConsole output, TemplateRow row)
    {
        var table = Consoles.Table("MEMORY", ">PROCESSES", ">RESIDENT", ">HUGE", ">PSS", ">PRIVATE", ">SWAP", ">PAGE TABLES");
        Add(table, "template", row.Template);
        Add(table, $"{row.ParkedCount} parked", row.Parked);
        Add(table, $"{row.CloneCount} clones alive", row.Clones);
        Add(table, "all of them", row.Total);
        output.Write(table);
        Console.Out.WriteLine(row.InUse
            ? $"template {row.Pid} is in use"
            : $"template {row.Pid} was last used {Units.Ago(row.LastUsed, DateTimeOffset.UtcNow)}");
    }

    private static void Add(Table table, string what, MemoryRow memory) => table.AddPlainRow(
        what,
        $"{memory.Processes}",
        Optional(memory.ResidentKib),
        Optional(memory.HugeKib),
        Units.Kibibytes(memory.PssKib),
        Units.Kibibytes(memory.PrivateKib),
        Units.Kibibytes(memory.SwapKib),
        Units.Kibibytes(memory.PageTablesKib));

    private static string Optional(ulong? kibibytes) => kibibytes is { } value ? Units.Kibibytes(value) : "-";
}
