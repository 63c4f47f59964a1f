using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Client;
using Snapshots.Host;
using Spectre.Console;

namespace Snapshots.Cli;

/// <summary>One run of a verb: what it was given and where it writes.</summary>
public sealed class Invocation
{
    public Invocation(ParseResult parsed)
    {
        Parsed = parsed;
        Json = parsed.GetValue(GlobalOptions.Json);
        StoreDirectory = Path.GetFullPath(parsed.GetRequiredValue(GlobalOptions.Store));
        Output = Consoles.Create(Console.Out, Console.IsOutputRedirected);
        Errors = Consoles.Create(Console.Error, Console.IsErrorRedirected);
    }

    public ParseResult Parsed { get; }

    /// <summary>The caller is a program.</summary>
    public bool Json { get; }

    /// <summary>Absolute path.</summary>
    public string StoreDirectory { get; }

    /// <summary>Results, for people.</summary>
    public IAnsiConsole Output { get; }

    /// <summary>Progress and remarks.</summary>
    public IAnsiConsole Errors { get; }

    public RunDirectory Run => RunDirectory.At(Parsed.GetRequiredValue(GlobalOptions.Run));

    /// <summary>Prints the one JSON value of a verb.</summary>
    public static void PrintJson<T>(T value, JsonTypeInfo<T> type) => Console.Out.WriteLine(JsonSerializer.Serialize(value, type));

    /// <summary>A remark that is no result; silent when the caller is a program.</summary>
    public void Remark(string text)
    {
        if (!Json)
            Console.Error.WriteLine(text);
    }

    /// <summary>A client of the running agent of this run directory; null when none runs.</summary>
    public async Task<FarmClient?> TryConnect(CancellationToken cancellation)
    {
        var client = new FarmClient(Run.SocketPath);
        if (await client.TryPingAsync(cancellation).ConfigureAwait(false) is not null)
            return client;
        client.Dispose();
        return null;
    }

    /// <summary>The client of an agent that must run already.</summary>
    /// <exception cref="CliException">None runs.</exception>
    public async Task<FarmClient> Connect(CancellationToken cancellation) =>
        await TryConnect(cancellation).ConfigureAwait(false)
        ?? throw new CliException(ExitCodes.AgentUnavailable, "agent_unavailable", $"no agent serves {Run.Path}: start one with `snapshots serve` or `snapshots clone`, or name its directory with --run");

    /// <summary>The client of an agent that is started when it does not run, and that serves our store.</summary>
    public async Task<FarmClient> ConnectOrStart(CancellationToken cancellation)
    {
        var run = Run;
        var client = new FarmClient(run.SocketPath);
        try
        {
            var starter = new AgentStarter(run, [.. OwnCommand.Get(), "serve", "--detached", "--run", run.Path, "--store", StoreDirectory]);
            if (await starter.EnsureRunning(client, cancellation).ConfigureAwait(false))
                Remark($"started the agent of {run.Path}");
            await CheckAgent(client, cancellation).ConfigureAwait(false);
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    private async Task CheckAgent(FarmClient client, CancellationToken cancellation)
    {
        var agent = await client.PingAsync(cancellation).ConfigureAwait(false);
        if (agent.Store != StoreDirectory)
            throw new CliException(ExitCodes.AgentUnavailable, "agent_serves_other_store", $"the agent of {Run.Path} (pid {agent.Pid}) serves the store {agent.Store}, not {StoreDirectory}: use --store {agent.Store}, or --run with another directory");
        if (agent.ContractVersion < FarmContract.Version)
            throw new CliException(ExitCodes.AgentUnavailable, "agent_too_old", $"the agent of {Run.Path} (pid {agent.Pid}) is of an older version: stop it with `snapshots serve --stop`");
    }
}
