using Spectre.Console;

namespace Snapshots.Cli.Text;

/// <summary>Consoles and tables that look the same everywhere.</summary>
internal static class Consoles
{
    // Nobody's screen: wide enough that no cell of a table is broken when another program reads it.
    private const int RedirectedWidth = 240;

    public static IAnsiConsole Create(TextWriter writer, bool redirected)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = redirected ? AnsiSupport.No : AnsiSupport.Detect,
            Interactive = redirected ? InteractionSupport.No : InteractionSupport.Detect,
        });
        if (redirected)
            console.Profile.Width = RedirectedWidth;
        return console;
    }

    /// <summary>A table with these headings; those that begin with &gt; are for numbers and stand on the right.</summary>
    public static Table Table(params ReadOnlySpan<string> headings)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (var heading in headings)
        {
            var numeric = heading.StartsWith('>');
            table.AddColumn(new TableColumn(Markup.Escape(numeric ? heading[1..] : heading)) { Alignment = numeric ? Justify.Right : Justify.Left });
        }
        return table;
    }

    /// <summary>Adds a row of plain text: nothing in it is markup.</summary>
    public static void AddPlainRow(this Table table, params ReadOnlySpan<string> cells)
    {
        var texts = new Spectre.Console.Rendering.IRenderable[cells.Length];
        for (var i = 0; i < cells.Length; i++)
            texts[i] = new Spectre.Console.Text(cells[i]);
        table.AddRow(texts);
    }
}
