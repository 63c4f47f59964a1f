using System.CommandLine;
using System.Diagnostics;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Cli;

/// <summary>
/// Keeps a worker running that <c>create --keep-running</c> has launched: its sandbox, its stdio and its channel need somebody who holds their
/// other ends. So create starts itself again in the background; that process makes the snapshot, says so, lets go of the pipes, and stays until
/// the worker has ended.
/// </summary>
internal static class WorkerHolder
{
    /// <summary>The last line of a holder that holds; everything before it is what create prints.</summary>
    private const string HoldingLine = "holding";

    public static readonly Option<bool> Option = new("--hold") { Description = "Be the process that keeps the worker running", Hidden = true };

    /// <summary>Starts the holder and prints what it says; returns when it holds the worker, or has failed with the exit code that create would have.</summary>
    public static async Task<int> Start(CancellationToken cancellation)
    {
        var command = OwnCommand.Get();
        var arguments = Environment.GetCommandLineArgs()[1..];
        // Before the worker's own command, which begins behind "--" or needs none.
        var place = Array.IndexOf(arguments, "--") is >= 0 and var end ? end : Array.IndexOf(arguments, "create") + 1;
        var start = new ProcessStartInfo(command[0], [.. command.Skip(1), .. arguments[..place], Option.Name, .. arguments[place..]])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var holder = Process.Start(start) ?? throw new InvalidOperationException($"{command[0]} could not be started");
        using var cancelled = cancellation.Register(holder.Kill);
        holder.StandardInput.Close();
        holder.ErrorDataReceived += (_, line) =>
        {
            if (line.Data is { } text)
                Console.Error.WriteLine(text);
        };
        holder.BeginErrorReadLine();
        while (await holder.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false) is { } line)
        {
            if (line == HoldingLine)
                return ExitCodes.Ok;
            Console.Out.WriteLine(line);
        }
        await holder.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
        return holder.ExitCode;
    }

    /// <summary>First thing of a holder: a signal to the terminal that create was started from no longer reaches it.</summary>
    public static void LeaveTerminal() => Session.Detach();

    /// <summary>Says that the worker is held, lets go of the starter's pipes, and returns when the worker has ended and all of its sandbox is gone.</summary>
    public static void Hold(LaunchedWorker worker)
    {
        using (worker)
        {
            Console.Out.WriteLine(HoldingLine);
            Console.Out.Flush();
            using (var nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            {
                for (var number = 0; number <= 2; number++)
                    Session.Redirect(nothing, number);
            }
            _ = worker.Process.WaitForExit();
        }
    }
}
