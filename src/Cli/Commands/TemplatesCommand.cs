using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots templates</c>: what the agent keeps in memory to fork clones from, and what each snapshot costs with its clones.</summary>
internal static class TemplatesCommand
{
    private const int ShortDigestLength = 19;

    public static Command Create()
    {
        var command = new Command("templates", "List the templates in memory, with the memory of their clones");
        command.SetBody(Run);
        return command;
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        var list = await List(invocation, cancellation).ConfigureAwait(false);
        if (invocation.Json)
            Invocation.PrintJson(list, CliJsonContext.Default.TemplateList);
        else
            Print(invocation, list);
        return ExitCodes.Ok;
    }

    private static async Task<TemplateList> List(Invocation invocation, CancellationToken cancellation)
    {
        using var client = await invocation.TryConnect(cancellation).ConfigureAwait(false);
        if (client is null)
        {
            invocation.Remark($"no agent serves {invocation.Run.Path}, so no template is in memory");
            return new TemplateList(null, []);
        }
        var reply = await client.ListTemplatesAsync(digest: null, cancellation).ConfigureAwait(false);
        return new TemplateList(reply.BudgetBytes is > 0 and var budget ? budget : null, [.. reply.Templates.Select(TemplateRows.Describe)]);
    }

    private static void Print(Invocation invocation, TemplateList list)
    {
        var table = Consoles.Table("SNAPSHOT", "DIGEST", ">RESIDENT", ">HUGE", ">PARKED", ">CLONES", ">PRIVATE", ">PSS OF ALL", ">PAGE TABLES", "LAST USED", "FORK OF");
        var now = DateTimeOffset.UtcNow;
        foreach (var row in list.Templates)
        {
            table.AddPlainRow(
                row.Snapshot,
                row.Digest[..Math.Min(row.Digest.Length, ShortDigestLength)],
                Units.Kibibytes(row.Template.ResidentKib ?? 0) + (row.Filling ? ", filling" : string.Empty),
                Units.Kibibytes(row.Template.HugeKib ?? 0),
                $"{row.ParkedCount}",
                $"{row.CloneCount}",
                Units.Kibibytes(row.Clones.PrivateKib),
                Units.Kibibytes(row.Total.PssKib),
                Units.Kibibytes(row.Total.PageTablesKib),
                row.InUse ? "now" : Units.Ago(row.LastUsed, now),
                row.ParentDigest is { } parent ? list.Templates.FirstOrDefault(other => other.Digest == parent)?.Snapshot ?? parent[..ShortDigestLength] : string.Empty);
        }
        invocation.Output.Write(table);
        // Pages that a layer's template shares with its parent's are resident in both, and there once.
        var counted = list.Templates.Sum(row => (double)row.CountedBytes);
        var budget = list.BudgetBytes is { } bytes ? $"of {Units.Bytes(bytes)} that they may have" : "without a limit";
        invocation.Remark($"{list.Templates.Count} templates, {Units.Bytes(counted)} resident {budget}");
    }
}
