using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Client;
using Snapshots.Client.V1;
using Snapshots.Host.Clones;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;

namespace Snapshots.Host.Tests;

/// <summary>
/// Stands in for the engine: the "snapshot" is a shell script, and a clone is a shell that runs it in a sandbox of its own, with pipes and
/// a channel (descriptor 3) on which its payload waits.
/// </summary>
internal sealed class ScriptLauncher : ICloneLauncher, IDisposable
{
    private readonly SandboxFactory _sandboxes = SandboxFactory.Start();
    private int _live;
    private int _prepared;

    /// <summary>Of every script.</summary>
    public static readonly string Digest = "sha256:" + new string('0', 64);

    /// <summary>A script of this name cannot be prepared.</summary>
    public const string Missing = "missing";

    /// <summary>A script of this name cannot be launched.</summary>
    public const string Broken = "broken";

    /// <summary>Launching a script of this name meets a fault that nobody foresaw.</summary>
    public const string Faulty = "faulty";

    /// <summary>Clones that were launched and not disposed of.</summary>
    public int Live => _live;

    /// <summary>Prepared scripts that were not disposed of.</summary>
    public int Prepared => _prepared;

    /// <summary>What it says is in memory.</summary>
    public IReadOnlyList<RestorePool.Templates.TemplateStatus> Templates { get; set; } = [];

    public long? TemplateMemoryBytes => 1 << 30;

    public IPreparedSnapshot Prepare(string reference)
    {
        if (reference == Missing)
            throw new AgentException(FarmErrorCode.NotFound, "no snapshot is called missing");
        Interlocked.Increment(ref _prepared);
        return new Script(this, reference);
    }

    public IReadOnlyList<RestorePool.Templates.TemplateStatus> ListTemplates() => Templates;

    public void Dispose() => _sandboxes.Dispose();

    private IRunningClone Launch(string script, CloneOrder order)
    {
        if (script == Faulty)
            throw new InvalidDataException("a fault of the launcher's own");
        if (script == Broken)
            throw new AgentException(FarmErrorCode.StartFailed, "entry 17: mmap: ENOMEM");
        var sandbox = _sandboxes.Create();
        var stdin = Pipe.Create("stdin");
        var stdout = Pipe.Create("stdout");
        var stderr = Pipe.Create("stderr");
        var channel = SocketPair.Stream("channel");
        using var theirStdin = stdin.Read;
        using var theirStdout = stdout.Write;
        using var theirStderr = stderr.Write;
        using var theirChannel = channel.Theirs;
        SocketMessage.Send(channel.Ours, Encoding.UTF8.GetBytes($"{order.PayloadJson ?? "null"}\n"));
        var process = sandbox.Spawn(new SpawnRequest
        {
            Command = ["/bin/sh", "-c", script],
            Environment = ["PATH=/usr/bin:/bin", "SNAPSHOTS_CHANNEL=3"],
            WorkingDirectory = "/",
            Descriptors = [theirStdin, theirStdout, theirStderr, theirChannel],
        });
        Interlocked.Increment(ref _live);
        return new RunningScript(this, sandbox, process, stdin.Write, stdout.Read, stderr.Read, channel.Ours);
    }

    private sealed class Script(ScriptLauncher launcher, string text) : IPreparedSnapshot
    {
        public string Digest => ScriptLauncher.Digest;

        public IRunningClone Launch(CloneOrder order) => launcher.Launch(text, order);

        public void Dispose() => Interlocked.Decrement(ref launcher._prepared);
    }

    private sealed class RunningScript(
        ScriptLauncher launcher, Sandbox sandbox, SpawnedProcess process, SafeFileHandle stdin, SafeFileHandle stdout, SafeFileHandle stderr, SafeFileHandle channel)
        : IRunningClone
    {
        private int _disposed;

        public int HostPid => process.HostPid;

        public CloneTimings Timings { get; } = new() { Running = 1 };

        public SafeFileHandle? Stdin => stdin;

        public SafeFileHandle? Stdout => stdout;

        public SafeFileHandle? Stderr => stderr;

        public SafeFileHandle? Channel => channel;

        public SafeFileHandle PidFd => process.PidFd;

        public string? Failure => null;

        public void NoteAnswered()
        {
        }

        public ProcessMemory? ReadMemory() => ProcessMemory.TryRead(process.HostPid);

        public ExitStatus? TryGetExit() => process.TryGetExit();

        public void Kill() => process.Kill();

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) != 0)
                return;
            process.Dispose();
            sandbox.Dispose();
            stdin.Dispose();
            stdout.Dispose();
            stderr.Dispose();
            channel.Dispose();
            Interlocked.Decrement(ref launcher._live);
        }
    }
}
