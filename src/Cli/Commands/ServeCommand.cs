using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Host;
using Snapshots.Host.Clones;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots serve</c>: the agent.</summary>
internal static class ServeCommand
{
    private static readonly Option<bool> Detached = new("--detached")
    {
        Description = "Leave the session, log to farm.log in the run directory; how `clone` starts the agent",
        Hidden = true,
    };

    private static readonly Option<bool> Stop = new("--stop") { Description = "Stop the agent of the run directory, with all its clones, and wait until it is gone" };

    public static Command Create()
    {
        var command = new Command("serve", "Run the agent: it launches clones, keeps their output and ends them when it ends") { Stop, Detached, TemplateMemoryOption.Create() };
        EngineOptions.AddTo(command);
        command.SetBody(Run);
        return command;
    }

    private static Task<int> Run(Invocation invocation, CancellationToken cancellation) =>
        invocation.Parsed.GetValue(Stop) ? StopAgent(invocation, cancellation) : Serve(invocation, cancellation);

    private static async Task<int> Serve(Invocation invocation, CancellationToken cancellation)
    {
        using var detachment = invocation.Parsed.GetValue(Detached) ? Detachment.Begin(invocation.Run) : null;
        var options = new AgentOptions(invocation.Run, invocation.StoreDirectory) { Log = detachment?.Log ?? Console.Error };
        var engine = EngineOptions.Read(invocation.Parsed) with { TemplateMemoryBytes = TemplateMemoryOption.Read(invocation.Parsed) };
        await Agent.Run(options, log => EngineLauncher.Start(invocation.StoreDirectory, engine, log), () => detachment?.AnnounceReady(), cancellation).ConfigureAwait(false);
        return ExitCodes.Ok;
    }

    private static async Task<int> StopAgent(Invocation invocation, CancellationToken cancellation)
    {
        var run = invocation.Run;
        using var client = await invocation.TryConnect(cancellation).ConfigureAwait(false);
        if (client is not null)
        {
            await client.ShutdownAsync(cancellation).ConfigureAwait(false);
            // The agent holds its lock until the last of its clones is gone.
            await Task.Run(run.WaitUntilFree, cancellation).ConfigureAwait(false);
        }
        if (invocation.Json)
            Invocation.PrintJson(new AgentRow(run.Path, client is not null), CliJsonContext.Default.AgentRow);
        else
            Console.Out.WriteLine(client is null ? $"no agent serves {run.Path}" : $"stopped the agent of {run.Path}");
        return ExitCodes.Ok;
    }
}
