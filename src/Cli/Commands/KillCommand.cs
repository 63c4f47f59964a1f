using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Client.V1;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots kill</c>: ends clones.</summary>
internal static class KillCommand
{
    private static readonly Argument<string[]> Ids = new("ID") { Description = "Clones to end", Arity = ArgumentArity.ZeroOrMore };

    private static readonly Option<bool> All = new("--all") { Description = "End every clone of the agent" };

    public static Command Create()
    {
        var command = new Command("kill", "End clones with all their processes, and wait until they are gone") { Ids, All };
        command.Validators.Add(result =>
        {
            var some = result.GetValue(Ids) is { Length: > 0 };
            if (some == result.GetValue(All))
                result.AddError("name the clones to end, or give --all");
        });
        command.SetBody(Run);
        return command;
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        using var client = await invocation.Connect(cancellation).ConfigureAwait(false);
        var request = new KillRequest { All = invocation.Parsed.GetValue(All) };
        request.Ids.AddRange(invocation.Parsed.GetValue(Ids) ?? []);
        var reply = await client.KillAsync(request, cancellation).ConfigureAwait(false);
        if (invocation.Json)
        {
            Invocation.PrintJson(new KilledClones(reply.Killed, reply.Ended, reply.Unknown), CliJsonContext.Default.KilledClones);
            return reply.Unknown.Count > 0 ? ExitCodes.NotFound : ExitCodes.Ok;
        }
        foreach (var id in reply.Killed)
            Console.Out.WriteLine($"killed {id}");
        foreach (var id in reply.Ended)
            Console.Out.WriteLine($"{id} had ended before");
        return reply.Unknown.Count == 0
            ? ExitCodes.Ok
            : throw new CliException(ExitCodes.NotFound, "not_found", $"no clone {string.Join(", ", reply.Unknown)}: `snapshots ps` lists them");
    }
}
