using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Client.V1;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots ps</c>: the clones of the agent, with their memory.</summary>
internal static class PsCommand
{
    private static readonly Option<bool> All = new("--all", "-a") { Description = "Also clones that have ended and are remembered" };

    public static Command Create()
    {
        var command = new Command("ps", "List running clones with the memory they use") { All };
        command.SetBody(Run);
        return command;
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        var rows = await List(invocation, cancellation).ConfigureAwait(false);
        if (invocation.Json)
            Invocation.PrintJson(rows, CliJsonContext.Default.IReadOnlyListProcessRow);
        else
            Print(invocation, rows);
        return ExitCodes.Ok;
    }

    private static async Task<IReadOnlyList<ProcessRow>> List(Invocation invocation, CancellationToken cancellation)
    {
        using var client = await invocation.TryConnect(cancellation).ConfigureAwait(false);
        if (client is not null)
            return [.. (await client.ListClonesWithMemoryAsync(invocation.Parsed.GetValue(All), cancellation).ConfigureAwait(false)).Select(Describe)];
        invocation.Remark($"no agent serves {invocation.Run.Path}, so no clones run");
        return [];
    }

    private static ProcessRow Describe(CloneStatus clone)
    {
        var ended = clone.State == CloneState.Ended;
        var memory = clone.Memory;
        return new ProcessRow(
            clone.Id,
            clone.Snapshot,
            clone.Pid,
            ended ? "ended" : "running",
            DateTimeOffset.FromUnixTimeMilliseconds(clone.StartedUnixMs),
            (long?)memory?.PssKib,
            (long?)(memory?.PrivateCleanKib + memory?.PrivateDirtyKib),
            ended ? DateTimeOffset.FromUnixTimeMilliseconds(clone.EndedUnixMs) : null,
            ended && clone.Signal == 0 ? clone.ExitCode : null,
            ended && clone.Signal != 0 ? clone.Signal : null,
            (long?)(memory?.SharedCleanKib + memory?.SharedDirtyKib),
            (long?)memory?.PageTablesKib,
            (long?)memory?.SwapKib,
            (long?)memory?.PrivateCleanKib,
            (long?)memory?.PrivateDirtyKib,
            (long?)memory?.SharedCleanKib,
            (long?)memory?.SharedDirtyKib,
            memory?.Processes,
            clone.Failure.Length == 0 ? null : clone.Failure);
    }

    private static void Print(Invocation invocation, IReadOnlyList<ProcessRow> rows)
    {
        var table = Consoles.Table("ID", "SNAPSHOT", ">PID", "STATE", "STARTED", ">PSS", ">PRIVATE", ">SHARED", ">PAGE TABLES");
        var now = DateTimeOffset.UtcNow;
        foreach (var row in rows)
        {
            table.AddPlainRow(
                row.Id,
                row.Snapshot,
                $"{row.Pid}",
                State(row),
                Units.Ago(row.Started, now),
                Memory(row.PssKib),
                Memory(row.PrivateKib),
                Memory(row.SharedKib),
                Memory(row.PageTablesKib));
        }
        invocation.Output.Write(table);
    }

    private static string State(ProcessRow row) => row switch
    {
        { Failure: { } failure } => $"ended: {failure}",
        { ExitCode: { } code } => $"ended, exit code {code}",
        { Signal: { } signal } => $"ended, signal {signal}",
        _ => row.State,
    };

    private static string Memory(long? kibibytes) => kibibytes is { } value ? Units.Kibibytes(value) : "-";
}
