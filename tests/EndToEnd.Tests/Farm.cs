using System.Diagnostics;
using System.Text.Json;

namespace Snapshots.EndToEnd.Tests;

/// <summary>A farm of its own: a temporary store and run directory, and an agent that this object starts and stops.</summary>
internal sealed class Farm : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    /// <summary>The first run after a change builds the program.</summary>
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(90);
    private readonly string[] _serveOptions;
    private Process _agent;

    /// <param name="serveOptions">For the agent.</param>
    public Farm(params IEnumerable<string> serveOptions)
    {
        _serveOptions = [.. serveOptions];
        Home = Directory.CreateTempSubdirectory("snapshots-e2e-").FullName;
        try
        {
            _agent = StartAgent();
        }
        catch
        {
            Directory.Delete(Home, recursive: true);
            throw;
        }
    }

    public string Home { get; }

    public string Store => Path.Combine(Home, "store");

    public string Run => Path.Combine(Home, "run");

    /// <summary>What the agent wrote to stderr.</summary>
    public List<string> AgentErrors { get; } = [];

    public int AgentPid => _agent.Id;

    private string[] Program => ProgramIn(Run);

    /// <summary>The program with this farm's store and another run directory.</summary>
    public string[] ProgramIn(string run) =>
        [Environment.GetEnvironmentVariable("SNAPSHOTS_PROGRAM") ?? RepositoryRoot.Combine("snapshots"), "--store", Store, "--run", run];

    /// <summary>Runs the command line as a user would; any exit code.</summary>
    public ProgramRun Execute(params IEnumerable<string> arguments) => ProgramRun.Execute([.. Program, .. arguments], Limit);

    /// <summary>Begins a run of the command line, which is the caller's to end.</summary>
    public Process Start(params IEnumerable<string> arguments) => ProgramRun.Start([.. Program, .. arguments], []);

    public JsonElement ExecuteJson(params IEnumerable<string> arguments) =>
        JsonDocument.Parse(Execute(["--json", .. arguments]).MustSucceed().Output).RootElement;

    public void Create(string name, Worker worker)
    {
        IEnumerable<string> environment = worker.Environment.SelectMany(pair => new[] { "--env", $"{pair.Key}={pair.Value}" });
        Execute(["create", name, "--ready", worker.Readiness, "--timeout", "90s", .. environment, "--", .. worker.Command]).MustSucceed();
    }

    /// <summary>One clone for each payload; waits for all. One element for each, in their order.</summary>
    public JsonElement[] CloneAndWait(string name, IEnumerable<string> payloads)
    {
        var file = Path.Combine(Home, "payloads.jsonl");
        File.WriteAllLines(file, payloads);
        return [.. ExecuteJson("clone", name, "--payloads", file, "--wait").EnumerateArray()];
    }

    /// <summary>Clones that run on. One element for each.</summary>
    public JsonElement[] Clone(string name, int count) => [.. ExecuteJson("clone", name, "--count", $"{count}").EnumerateArray()];

    public JsonElement[] Processes() => [.. ExecuteJson("ps").EnumerateArray()];

    public void KillAll() => Execute("kill", "--all").MustSucceed();

    public static void Await(string what, Func<bool> condition) => Await(what, TimeSpan.FromSeconds(20), condition);

    public static void Await(string what, TimeSpan limit, Func<bool> condition)
    {
        var waited = Stopwatch.StartNew();
        while (!condition())
        {
            if (waited.Elapsed > limit)
                throw new TimeoutException($"waited {limit.TotalSeconds} s in vain for {what}");
            Thread.Sleep(10); // what is awaited is the state of other processes, which announces itself to nobody
        }
    }

    /// <summary>Ends the agent as nobody would, and waits until it has gone; what it started ends by itself.</summary>
    public void KillAgent()
    {
        _agent.Kill();
        _agent.WaitForExit();
    }

    /// <summary>Starts another agent in place of one that was killed.</summary>
    public void RestartAgent()
    {
        File.Delete(Socket); // the dead one's; the next one's is awaited
        var next = StartAgent();
        _agent.Dispose();
        _agent = next;
    }

    /// <summary>Stops the agent as an operator would, and waits until it has gone.</summary>
    public void Stop()
    {
        if (_agent.HasExited)
            return;
        Execute("serve", "--stop").MustSucceed();
        Await("the agent to end", () => _agent.HasExited);
    }

    public void Dispose()
    {
        try
        {
            Stop();
        }
        finally
        {
            if (!_agent.HasExited)
                _agent.Kill();
            _agent.Dispose();
            Directory.Delete(Home, recursive: true);
        }
    }

    private string Socket => Path.Combine(Run, "farm.sock");

    private Process StartAgent()
    {
        var agent = ProgramRun.Start([.. Program, "serve", .. _serveOptions], []);
        try
        {
            agent.OutputDataReceived += (_, _) => { };
            agent.BeginOutputReadLine();
            agent.ErrorDataReceived += (_, line) => AgentErrors.Add(line.Data ?? "");
            agent.BeginErrorReadLine();
            Await("the agent to serve", StartLimit, () => agent.HasExited || File.Exists(Socket));
            return agent.HasExited ? throw new InvalidOperationException($"the agent ended with exit code {agent.ExitCode}: {string.Join('\n', AgentErrors)}") : agent;
        }
        catch
        {
            agent.Kill(entireProcessTree: true);
            agent.WaitForExit();
            agent.Dispose();
            throw;
        }
    }
}
