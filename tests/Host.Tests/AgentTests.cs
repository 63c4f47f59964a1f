using System.Text;
using Snapshots.Client;
using Snapshots.Client.V1;

namespace Snapshots.Host.Tests;

/// <summary>The agent over its socket, with shells in sandboxes for clones.</summary>
public sealed class AgentTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly DirectoryInfo _parent = Directory.CreateTempSubdirectory("snapshots-agent-");
    private readonly CancellationTokenSource _stop = new();
    private readonly ScriptLauncher _launcher = new();
    private readonly StringWriter _log = new();
    private RunDirectory _run = null!;
    private Task _agent = Task.CompletedTask;
    private FarmClient _client = null!;

    public async ValueTask InitializeAsync()
    {
        _run = RunDirectory.At(Path.Combine(_parent.FullName, "run"));
        _client = new FarmClient(_run.SocketPath);
        var ready = new TaskCompletionSource();
        _agent = Agent.Run(Options, _ => _launcher, ready.SetResult, _stop.Token);
        await Task.WhenAny(ready.Task, _agent).WaitAsync(Patience);
        Assert.True(ready.Task.IsCompleted, "the agent ended before it served");
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _agent.WaitAsync(Patience);
        _client.Dispose();
        _stop.Dispose();
        Assert.Equal(0, _launcher.Live);
        Assert.Equal(0, _launcher.Prepared);
        Assert.False(File.Exists(_run.SocketPath));
        Assert.False(Directory.Exists(_run.ClonesPath));
        _parent.Delete(recursive: true);
    }

    private AgentOptions Options => new(_run, "/store") { Log = TextWriter.Synchronized(_log) };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Ping_tells_the_store_and_the_contract()
    {
        var reply = await _client.PingAsync(Cancellation);
        Assert.Equal("/store", reply.Store);
        Assert.Equal((uint)FarmContract.Version, reply.ContractVersion);
        Assert.Equal((uint)Environment.ProcessId, reply.Pid);
    }

    [Fact]
    public void The_socket_is_for_its_owner_alone() =>
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_run.SocketPath));

    [Fact]
    public async Task A_clone_that_is_waited_for_starts_answers_and_ends_in_this_order()
    {
        var events = await Clone("read line <&3; echo \"got $line\" >&3; echo out; echo err >&2; exit 3", wait: true, payloads: "{\"n\":1}");
        Assert.Equal([CloneEvent.KindOneofCase.Started, CloneEvent.KindOneofCase.Answered, CloneEvent.KindOneofCase.Exited], events.Select(e => e.KindCase));
        Assert.Equal("got {\"n\":1}", events[1].Answered.Line.ToStringUtf8());
        var exited = events[2].Exited;
        Assert.Equal((3, 0u, "out\n", "err\n"), (exited.ExitCode, exited.Signal, exited.Stdout.ToStringUtf8(), exited.Stderr.ToStringUtf8()));
        Assert.True(exited.Microseconds >= events[1].Answered.Microseconds);
    }

    [Fact]
    public async Task Every_clone_gets_its_own_payload()
    {
        var payloads = Enumerable.Range(0, 40).Select(n => $"{{\"n\":{n}}}").ToArray();
        var events = await Clone("read line <&3; echo \"$line\" >&3", wait: true, payloads);
        var answers = events.Where(e => e.KindCase == CloneEvent.KindOneofCase.Answered).OrderBy(e => e.Index).Select(e => e.Answered.Line.ToStringUtf8());
        Assert.Equal(payloads, answers);
        Assert.Equal(40, events.Count(e => e.KindCase == CloneEvent.KindOneofCase.Exited));
    }

    [Fact]
    public async Task A_clone_that_is_not_waited_for_is_listed_until_it_is_killed()
    {
        var started = Assert.Single(await Clone("exec sleep 1000", wait: false));
        var listed = Assert.Single(await _client.ListClonesAsync(includeEnded: false, Cancellation));
        Assert.Equal((started.Id, started.Started.Pid, CloneState.Running), (listed.Id, listed.Pid, listed.State));
        var reply = await _client.KillAsync(new KillRequest { Ids = { started.Id, "nobody" } }, Cancellation);
        Assert.Equal([started.Id], reply.Killed);
        Assert.Equal(["nobody"], reply.Unknown);
        Assert.False(Directory.Exists($"/proc/{started.Started.Pid}"));
        Assert.Empty(await _client.ListClonesAsync(includeEnded: false, Cancellation));
        var ended = Assert.Single(await _client.ListClonesAsync(includeEnded: true, Cancellation));
        Assert.Equal((CloneState.Ended, 9u), (ended.State, ended.Signal));
    }

    [Fact]
    public async Task Memory_of_a_clone_is_read_when_it_is_asked_for()
    {
        var started = Assert.Single(await Clone("exec sleep 1000", wait: false));
        Assert.Null(Assert.Single(await _client.ListClonesAsync(includeEnded: false, Cancellation)).Memory);
        var memory = Assert.Single(await _client.ListClonesWithMemoryAsync(includeEnded: false, Cancellation)).Memory;
        Assert.Equal(1u, memory.Processes);
        Assert.True(memory is { PageTablesKib: > 0, PssKib: > 0 });
        Assert.Equal(memory.ResidentKib, memory.SharedCleanKib + memory.SharedDirtyKib + memory.PrivateCleanKib + memory.PrivateDirtyKib);
        await _client.KillAsync(new KillRequest { Ids = { started.Id } }, Cancellation);
        Assert.Null(Assert.Single(await _client.ListClonesWithMemoryAsync(includeEnded: true, Cancellation)).Memory);
    }

    [Fact]
    public async Task A_template_is_listed_with_its_clones_each_counted_once()
    {
        var parked = Assert.Single(await Clone("exec sleep 1000", wait: false));
        var started = Assert.Single(await Clone("exec sleep 1000", wait: false));
        await _client.KillAsync(new KillRequest { Ids = { parked.Id } }, Cancellation);
        // Of the parked ones that the engine tells of, one has been started meanwhile, and one is gone.
        var pids = new[] { (int)started.Started.Pid, (int)parked.Started.Pid, Environment.ProcessId };
        var memory = new Linux.Proc.ProcessMemory { Processes = 1, ResidentKib = 5, PageTablesKib = 2 };
        _launcher.Templates =
        [
            new("old", "sha256:1", 41, memory, [], TimeSpan.FromMinutes(5), InUse: false, ParentDigest: null, CountedBytes: 5 << 10),
            new("script", ScriptLauncher.Digest, 42, memory, pids, TimeSpan.Zero, InUse: true, ParentDigest: "sha256:1", CountedBytes: 1 << 10),
        ];

        var reply = await _client.ListTemplatesAsync(digest: null, Cancellation);

        Assert.Equal(1UL << 30, reply.BudgetBytes);
        Assert.Equal(["script", "old"], reply.Templates.Select(template => template.Snapshot));
        var listed = reply.Templates[0];
        Assert.Equal((ScriptLauncher.Digest, 42u, true, 5UL, 2UL), (listed.Digest, listed.Pid, listed.InUse, listed.Template.ResidentKib, listed.Template.PageTablesKib));
        Assert.Equal(("sha256:1", 1UL << 10), (listed.ParentDigest, listed.CountedBytes));
        Assert.Equal((1u, 1u, 1u), (listed.Parked.Processes, listed.Clones.Processes, listed.CloneCount));
        Assert.Equal("old", Assert.Single((await _client.ListTemplatesAsync("sha256:1", Cancellation)).Templates).Snapshot);
    }

    [Fact]
    public async Task Output_of_processes_that_the_clone_leaves_behind_does_not_keep_it_alive()
    {
        var events = await Clone("sleep 1000 & echo done", wait: true);
        Assert.Equal("done\n", events[^1].Exited.Stdout.ToStringUtf8());
    }

    [Fact]
    public async Task More_output_than_a_pipe_holds_arrives_whole()
    {
        const int Bytes = 3_000_000;
        var events = await Clone($"head -c {Bytes} /dev/zero; exit 0", wait: true);
        Assert.Equal((ulong)Bytes, events[^1].Exited.StdoutBytes);
        Assert.Equal(AgentLimits.OutputInEventBytes, events[^1].Exited.Stdout.Length);
        Assert.Equal(Bytes, (await Logs(events[0].Id, follow: false)).Length);
    }

    [Fact]
    public async Task Logs_are_followed_until_the_clone_ends()
    {
        var started = Assert.Single(await Clone("echo first; read line <&3; read line; echo second", wait: false));
        Assert.Equal("first\nsecond\n", Encoding.UTF8.GetString(await Logs(started.Id, follow: true)));
    }

    [Fact]
    public async Task Logs_of_an_unknown_clone_are_not_found() =>
        Assert.Equal(FarmErrorCode.NotFound, (await Assert.ThrowsAsync<FarmException>(() => Logs("nobody", follow: false))).Code);

    [Fact]
    public async Task A_missing_snapshot_is_not_found() =>
        Assert.Equal(FarmErrorCode.NotFound, (await Assert.ThrowsAsync<FarmException>(() => Clone(ScriptLauncher.Missing, wait: false))).Code);

    [Fact]
    public async Task A_clone_that_cannot_start_is_reported_and_the_agent_goes_on()
    {
        var failed = Assert.Single(await Clone(ScriptLauncher.Broken, wait: true));
        Assert.Equal(("clone_start_failed", "entry 17: mmap: ENOMEM"), (failed.Failed.Code, failed.Failed.Message));
        Assert.Equal(0, (await Clone("exit 0", wait: true))[^1].Exited.ExitCode);
    }

    [Fact]
    public async Task A_fault_costs_one_clone_and_is_logged()
    {
        var failed = Assert.Single(await Clone(ScriptLauncher.Faulty, wait: true));
        Assert.Equal("internal", failed.Failed.Code);
        Assert.Contains(nameof(InvalidDataException), _log.ToString(), StringComparison.Ordinal);
        Assert.Equal(0, (await Clone("exit 0", wait: true))[^1].Exited.ExitCode);
    }

    [Fact]
    public async Task A_number_of_payloads_that_fits_no_number_of_clones_is_refused()
    {
        var request = new CloneRequest { Snapshot = "exit 0", Count = 3, Payloads = { "1", "2" } };
        Assert.Equal(FarmErrorCode.InvalidRequest, (await Assert.ThrowsAsync<FarmException>(() => Collect(request))).Code);
    }

    [Fact]
    public async Task A_second_agent_is_refused_and_harms_nothing()
    {
        var refused = await Assert.ThrowsAsync<AgentException>(() => Agent.Run(Options, _ => _launcher, () => { }, Cancellation));
        Assert.Contains("another agent", refused.Message, StringComparison.Ordinal);
        await _client.PingAsync(Cancellation);
    }

    [Fact]
    public async Task A_stopping_agent_takes_its_clones_along_and_tells_those_who_wait()
    {
        var waiting = Clone("read line <&3; echo up >&3; exec sleep 1000", wait: true);
        while ((await _client.ListClonesAsync(includeEnded: false, Cancellation)) is not [{ Answer.Length: > 0 }])
            await Task.Yield();
        await _client.ShutdownAsync(Cancellation);
        Assert.Equal(9u, (await waiting)[^1].Exited.Signal);
        await _agent.WaitAsync(Patience, Cancellation);
        Assert.Null(await _client.TryPingAsync(Cancellation));
    }

    private Task<List<CloneEvent>> Clone(string script, bool wait, params string[] payloads)
    {
        var request = new CloneRequest { Snapshot = script, Count = (uint)Math.Max(1, payloads.Length), Wait = wait };
        request.Payloads.AddRange(payloads);
        return Collect(request);
    }

    private async Task<List<CloneEvent>> Collect(CloneRequest request)
    {
        var events = new List<CloneEvent>();
        await foreach (var happened in _client.CloneAsync(request, Cancellation))
            events.Add(happened);
        return events;
    }

    private async Task<byte[]> Logs(string id, bool follow)
    {
        using var collected = new MemoryStream();
        await foreach (var chunk in _client.LogsAsync(id, follow, Cancellation))
            collected.Write(chunk.Data.Span);
        return collected.ToArray();
    }
}
