using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Client.V1;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots clone</c>: launches clones under the agent.</summary>
internal static class CloneCommand
{
    private static readonly Argument<string> Name = new("NAME") { Description = "Snapshot: its name, or sha256:…" };

    private static readonly Option<int?> Count = new("--count", "-n") { Description = "How many clones (default: one, or one for each payload)", HelpName = "N" };

    private static readonly Option<string?> Payload = new("--payload") { Description = "JSON that every clone reads from its channel", HelpName = "JSON" };

    private static readonly Option<string?> PayloadFile = new("--payloads") { Description = "File with one JSON value per line, one clone for each; - reads stdin", HelpName = "FILE.jsonl" };

    private static readonly Option<string[]> Environment = new("--env") { Description = "Environment overlay that the worker reads with its payload", HelpName = "K=V" };

    private static readonly Option<bool> Wait = new("--wait") { Description = "Wait until all have ended; report output, exit status and latencies" };

    public static Command Create()
    {
        var command = new Command("clone", "Launch clones of a snapshot; starts the agent when it does not run") { Name, Count, Payload, PayloadFile, Environment, Wait };
        command.Validators.Add(result =>
        {
            if (result.Words(Payload) is not null && result.Words(PayloadFile) is not null)
                result.AddError("give --payload or --payloads, not both");
            result.RequireAtLeast(Count, 1);
        });
        command.SetBody(Run);
        return command;
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        var request = BuildRequest(invocation.Parsed);
        using var client = await invocation.ConnectOrStart(cancellation).ConfigureAwait(false);
        var outcome = new CloneOutcome(request);
        try
        {
            await foreach (var happened in client.CloneAsync(request, cancellation).ConfigureAwait(false))
            {
                outcome.Apply(happened);
                if (!invocation.Json)
                    ClonePrinter.PrintOutput(happened);
            }
        }
        catch when (request.Wait && cancellation.IsCancellationRequested)
        {
            // Whoever waits owns the clones: they end with the wait.
            var kill = new KillRequest();
            kill.Ids.AddRange(outcome.RunningIds);
            await client.KillAsync(kill, CancellationToken.None).ConfigureAwait(false);
            throw;
        }
        if (invocation.Json)
            Invocation.PrintJson(outcome.Rows, CliJsonContext.Default.IReadOnlyListCloneRow);
        else
            ClonePrinter.Print(invocation.Output, outcome, request.Wait);
        return outcome.AllWell ? ExitCodes.Ok : ExitCodes.CloneFailed;
    }

    private static CloneRequest BuildRequest(ParseResult parsed)
    {
        var payloads = Payloads.Read(parsed.GetValue(Payload), parsed.GetValue(PayloadFile));
        var count = parsed.GetValue(Count) ?? Math.Max(1, payloads.Count);
        if (payloads.Count > 1 && payloads.Count != count)
            throw CliException.Usage($"--count {count} does not fit the {payloads.Count} payloads of {parsed.GetValue(PayloadFile)}: leave --count out");
        var request = new CloneRequest { Snapshot = parsed.GetRequiredValue(Name), Count = (uint)count, Wait = parsed.GetValue(Wait) };
        request.Payloads.AddRange(payloads);
        foreach (var (key, value) in EnvironmentPairs.Parse(parsed.GetValue(Environment) ?? []))
            request.Environment[key] = value;
        return request;
    }
}
