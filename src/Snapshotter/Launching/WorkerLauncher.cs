using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;
using Pipe = Snapshots.Linux.Syscalls.Pipe;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Launching;

/// <summary>What to start as a worker.</summary>
public sealed record WorkerLaunch
{
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>The whole environment, <c>K=V</c> each; the channel's and the notify socket's variables are added.</summary>
    public required IReadOnlyList<string> Environment { get; init; }

    public required string WorkingDirectory { get; init; }

    /// <summary>Path for <c>NOTIFY_SOCKET</c> (sd_notify(3)); null for none.</summary>
    public string? NotifySocket { get; init; }

    /// <summary>Start without address space layout randomisation.</summary>
    public bool DisableAslr { get; init; }
}

/// <summary>Starts workers in sandboxes of their own, with the descriptors that each clone will get its own of: stdio pipes and the channel.</summary>
/// <remarks>Thread-safe. The factory stays the caller's.</remarks>
public sealed class WorkerLauncher(SandboxFactory factory)
{
    /// <summary>The worker's descriptor number of the channel.</summary>
    public const int ChannelDescriptor = 3;

    /// <exception cref="SpawnException">The program cannot be started; says why.</exception>
    public LaunchedWorker Launch(WorkerLaunch launch)
    {
        var sandbox = factory.Create();
        var ends = new List<SafeFileHandle>();
        try
        {
            var stdin = Linux.Syscalls.Pipe.Create("stdin of a worker");
            ends.AddRange([stdin.Read, stdin.Write]);
            var stdout = Linux.Syscalls.Pipe.Create("stdout of a worker");
            ends.AddRange([stdout.Read, stdout.Write]);
            var stderr = Linux.Syscalls.Pipe.Create("stderr of a worker");
            ends.AddRange([stderr.Read, stderr.Write]);
            var channel = SocketPair.Stream("channel of a worker");
            ends.AddRange([channel.Ours, channel.Theirs]);
            SafeFileHandle[] theirs = [stdin.Read, stdout.Write, stderr.Write, channel.Theirs];
            var externals = new Dictionary<ObjectIdentity, ExternalRole>
            {
                [IdentityOf(stdin.Read)] = ExternalRole.Stdin,
                [IdentityOf(stdout.Write)] = ExternalRole.Stdout,
                [IdentityOf(stderr.Write)] = ExternalRole.Stderr,
                [IdentityOf(channel.Theirs)] = ExternalRole.Channel,
            };
            var process = sandbox.Spawn(new SpawnRequest
            {
                Command = launch.Command,
                Environment = EnvironmentOf(launch),
                WorkingDirectory = launch.WorkingDirectory,
                Descriptors = theirs,
                DisableAslr = launch.DisableAslr,
            });
            foreach (var handle in theirs)
                handle.Dispose();
            return new LaunchedWorker(process, sandbox, externals, stdin.Write, stdout.Read, stderr.Read, channel.Ours);
        }
        catch
        {
            ends.ForEach(handle => handle.Dispose());
            sandbox.ReapStrays();
            sandbox.Dispose();
            throw;
        }
    }

    private static ObjectIdentity IdentityOf(SafeFileHandle handle)
    {
        var status = FileStatus.Of(handle, "descriptor of a worker");
        return new ObjectIdentity(status.Device, status.Inode);
    }

    private static List<string> EnvironmentOf(WorkerLaunch launch)
    {
        var environment = launch.Environment
            .Where(variable => !variable.StartsWith("SNAPSHOTS_CHANNEL=", StringComparison.Ordinal) && !variable.StartsWith("NOTIFY_SOCKET=", StringComparison.Ordinal))
            .ToList();
        environment.Add($"SNAPSHOTS_CHANNEL={ChannelDescriptor}");
        if (launch.NotifySocket is { } path)
            environment.Add($"NOTIFY_SOCKET={path}");
        return environment;
    }
}
