using System.Diagnostics;
using Snapshots.Client;

namespace Snapshots.Host;

/// <summary>Starts an agent in the background when none serves a run directory.</summary>
/// <param name="run">Where the agent serves.</param>
/// <param name="command">Executable and arguments that run <see cref="Agent"/> detached; it writes <see cref="ReadyLine"/> to stdout when it serves.</param>
public sealed class AgentStarter(RunDirectory run, IReadOnlyList<string> command)
{
    /// <summary>What a detached agent writes to its stdout once calls are answered, before it lets go of it.</summary>
    public const string ReadyLine = "ready";

    /// <summary>Returns when an agent answers; the caller may have started it or found it.</summary>
    /// <returns>True when it was started.</returns>
    /// <exception cref="AgentException">It did not start; the message holds what it said.</exception>
    public async Task<bool> EnsureRunning(FarmClient client, CancellationToken cancellation)
    {
        if (await client.TryPingAsync(cancellation).ConfigureAwait(false) is not null)
            return false;
        run.Create();
        // Waits for another caller that is starting it just now; its agent answers then.
        using var starting = await Task.Run(run.LockStart, cancellation).ConfigureAwait(false);
        if (await client.TryPingAsync(cancellation).ConfigureAwait(false) is not null)
            return false;
        await Start(cancellation).ConfigureAwait(false);
        return true;
    }

    private async Task Start(CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(command[0], command.Skip(1))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = "/",
        };
        using var process = Process.Start(start) ?? throw new AgentException(FarmErrorCode.Unavailable, $"{command[0]} could not be started");
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync(cancellation);
        var line = await process.StandardOutput.ReadLineAsync(cancellation).ConfigureAwait(false);
        if (line == ReadyLine)
            return;
        var said = (await errors.ConfigureAwait(false)).Trim();
        await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
        throw new AgentException(FarmErrorCode.Unavailable, $"the agent did not start (exit code {process.ExitCode}): {said}");
    }
}
