using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.Host.Layers;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots create</c>: launches a worker, waits until it is warm, freezes it, stores the image; or freezes a running process.</summary>
internal static class CreateCommand
{
    private static readonly Argument<string> Name = new("NAME") { Description = "Name of the snapshot; an existing one moves to the new image" };

    private static readonly Argument<string[]> Worker = new("COMMAND")
    {
        Description = "The worker and its arguments, after --",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private static readonly Option<int?> Pid = new("--pid") { Description = "Freeze this running process instead of launching a worker", HelpName = "PID" };

    private static readonly Option<string?> From = new("--from") { Description = "Make a layer: start a clone of this snapshot, and freeze it when it is ready once more", HelpName = "PARENT" };

    private static readonly Option<string?> Payload = new("--payload") { Description = "With --from: JSON that the clone reads from its channel, and prepares for", HelpName = "JSON" };

    private static readonly Option<bool> HostClocks = new("--host-clocks") { Description = "With --from: leave the clone the host's monotonic clock instead of letting its own go on where it stood" };

    private static readonly Option<string?> Ready = new("--ready")
    {
        Description = "When the worker is warm: notify | channel | port:N | stdout:REGEX | http:PORT/PATH | after:DURATION (default: channel; with --from as the parent did)",
        HelpName = "HOW",
    };

    private static readonly Option<string> Timeout = new("--timeout")
    {
        Description = $"How long the worker may take to get ready: {Durations.Syntax}",
        HelpName = "DURATION",
        DefaultValueFactory = _ => "60s",
    };

    private static readonly Option<string[]> Environment = new("--env") { Description = "Environment variable of the worker, added to PATH, HOME, LANG and TZ of this shell; repeatable", HelpName = "K=V" };

    private static readonly Option<string?> WorkingDirectory = new("--workdir") { Description = "Working directory of the worker (default: this one)", HelpName = "DIR" };

    private static readonly Option<bool> KeepRunning = new("--keep-running") { Description = "Let the process run on after the freeze; a worker that is launched runs on in the background" };

    private static readonly Option<bool> Aslr = new("--aslr") { Description = "Start the worker with a randomised address space; without, workers of one kind lie alike and share more pages in the store" };

    public static Command Create()
    {
        var command = new Command("create", "Freeze a warm process into a snapshot")
        {
            Name, Worker, Pid, From, Payload, HostClocks, Ready, Timeout, Environment, WorkingDirectory, KeepRunning, Aslr, WorkerHolder.Option,
        };
        command.Validators.Add(Validate);
        command.SetBody(Run);
        return command;
    }

    private static void Validate(System.CommandLine.Parsing.CommandResult result)
    {
        var launches = result.GetValue(Worker) is { Length: > 0 };
        var named = result.GetResult(Pid) is not null;
        var layers = result.GetResult(From) is not null;
        if ((launches ? 1 : 0) + (named ? 1 : 0) + (layers ? 1 : 0) != 1)
            result.AddError("give a command after --, or --pid of a running process, or --from with a snapshot");
        if (!layers && (result.GetResult(Payload) ?? result.GetResult(HostClocks)) is not null)
            result.AddError("--payload and --host-clocks are for --from");
        if (layers && (result.GetResult(WorkingDirectory) ?? result.GetResult(Environment) ?? result.GetResult(Aslr) ?? result.GetResult(KeepRunning)) is not null)
            result.AddError("--env, --workdir, --aslr and --keep-running are not for --from: a clone has what its parent had, and ends when it is frozen");
        if (named && (result.GetResult(Ready) ?? result.GetResult(WorkingDirectory) ?? result.GetResult(Environment) ?? result.GetResult(Aslr)) is not null)
            result.AddError("--ready, --env, --workdir and --aslr are for workers that are launched, not for --pid");
        result.RequireAtLeast(Pid, 1);
        if (result.Words(Ready) is { } ready && ReadinessProblem(ready) is { } problem)
            result.AddError($"--ready: {problem}");
        if (result.Words(Timeout) is { } timeout && !Durations.TryParse(timeout, out _))
            result.AddError($"--timeout {timeout}: write {Durations.Syntax}");
    }

    private static string? ReadinessProblem(string text)
    {
        try
        {
            ReadinessSpec.Parse(text);
            return null;
        }
        catch (FormatException e)
        {
            return e.Message;
        }
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        if (invocation.Parsed.GetValue(From) is { } parent)
            return await RunLayer(invocation, parent, cancellation).ConfigureAwait(false);
        var store = HostStore.Open(invocation.StoreDirectory);
        var request = BuildRequest(invocation);
        var holds = invocation.Parsed.GetValue(WorkerHolder.Option);
        if (request.KeepRunning && request.Pid is null && !holds)
            return await WorkerHolder.Start(cancellation).ConfigureAwait(false);
        if (holds)
            WorkerHolder.LeaveTerminal();
        using var creator = new SnapshotCreator(store);
        var created = await CreateProgressLines.Run(invocation, progress => Task.Run(() => creator.Create(request, progress, cancellation))).ConfigureAwait(false);
        Print(invocation, request.Name, created);
        if (created.Worker is { } worker)
            WorkerHolder.Hold(worker);
        return ExitCodes.Ok;
    }

    private static async Task<int> RunLayer(Invocation invocation, string parent, CancellationToken cancellation)
    {
        var parsed = invocation.Parsed;
        Durations.TryParse(parsed.GetRequiredValue(Timeout), out var timeout);
        var request = new LayerRequest
        {
            Name = parsed.GetRequiredValue(Name),
            Parent = parent,
            PayloadJson = Payloads.Read(parsed.GetValue(Payload), file: null) is [var payload] ? payload : null,
            Ready = parsed.GetValue(Ready) is { } ready ? ReadinessSpec.Parse(ready) : null,
            Timeout = timeout,
            HostClocks = parsed.GetValue(HostClocks),
        };
        var creator = new LayerCreator(HostStore.Open(invocation.StoreDirectory));
        var created = await CreateProgressLines.Run(invocation, progress => Task.Run(() => creator.Create(request, progress, cancellation))).ConfigureAwait(false);
        Print(invocation, request.Name, created);
        return ExitCodes.Ok;
    }

    private static void Print(Invocation invocation, string name, CreatedImage created)
    {
        var row = SnapshotRows.Describe(name, created.Digest, created.Manifest);
        var statistics = created.Manifest.Statistics;
        var report = new CreatedSnapshot(row.Name, row.Digest, row.PagesBytes, row.ResidentBytes, row.Threads, row.Mappings, row.Descriptors, statistics.StoppedMicroseconds, statistics.ColdStartReadyMicroseconds is > 0 and var ready ? ready : null, SnapshotRemarks.Of(created.Manifest), created.Worker?.Process.HostPid, row.Layer);
        if (invocation.Json)
            Invocation.PrintJson(report, CliJsonContext.Default.CreatedSnapshot);
        else
            Print(report);
    }

    private static CreateRequest BuildRequest(Invocation invocation)
    {
        var parsed = invocation.Parsed;
        var aslr = parsed.GetValue(Aslr);
        Durations.TryParse(parsed.GetRequiredValue(Timeout), out var timeout);
        return new CreateRequest
        {
            Name = parsed.GetRequiredValue(Name),
            Pid = parsed.GetValue(Pid),
            Command = parsed.GetValue(Worker) ?? [],
            Ready = ReadinessSpec.Parse(parsed.GetValue(Ready) ?? "channel"),
            Timeout = timeout,
            Environment = WorkerEnvironment.Build(parsed.GetValue(Environment) ?? [], aslr || parsed.GetValue(Pid) is not null ? null : HashSeed.Of(invocation.StoreDirectory)),
            WorkingDirectory = Path.GetFullPath(parsed.GetValue(WorkingDirectory) ?? "."),
            KeepRunning = parsed.GetValue(KeepRunning),
            Aslr = aslr,
        };
    }

    /// <summary>What <c>create</c> asks for with nothing but these given.</summary>
    public static CreateRequest LaunchRequest(string name, IReadOnlyList<string> command, string ready, TimeSpan timeout) => new()
    {
        Name = name,
        Command = command,
        Ready = ReadinessSpec.Parse(ready),
        Timeout = timeout,
        Environment = WorkerEnvironment.Build([]),
    };

    private static void Print(CreatedSnapshot created)
    {
        Console.Out.WriteLine($"name      {created.Name}");
        Console.Out.WriteLine($"digest    {created.Digest}");
        Console.Out.WriteLine($"process   {created.Threads} threads, {created.Mappings} mappings, {created.Descriptors} descriptors");
        Console.Out.WriteLine($"memory    {Units.Bytes(created.ResidentBytes)} resident, {Units.Bytes(created.PagesBytes)} of pages kept");
        if (created.Layer is { } layer)
            Console.Out.WriteLine($"layer of  {layer.Text}");
        if (created.ReadyMicroseconds is { } ready)
            Console.Out.WriteLine($"ready     {Units.Microseconds(ready)} after its launch");
        Console.Out.WriteLine($"stopped   {Units.Microseconds(created.StoppedMicroseconds)}");
        if (created.WorkerPid is { } pid)
            Console.Out.WriteLine($"worker    runs on as pid {pid}; end it with kill {pid}");
        foreach (var remark in created.Remarks)
            Console.Out.WriteLine($"remark    {remark}");
    }
}
