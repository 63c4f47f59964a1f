using System.Diagnostics;

namespace Snapshots.EndToEnd.Tests;

/// <summary>How a program ended and what it printed.</summary>
internal sealed record ProgramRun(string CommandLine, int ExitCode, string Output, string Errors)
{
    /// <summary>Runs a program to its end; one that takes longer than <paramref name="limit"/> is killed and reported.</summary>
    public static ProgramRun Execute(IReadOnlyList<string> command, TimeSpan limit, IEnumerable<KeyValuePair<string, string>>? environment = null)
    {
        var text = string.Join(' ', command);
        using var process = Start(command, environment ?? []);
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(limit))
        {
            process.Kill();
            throw new TimeoutException($"{text}: still running after {limit.TotalSeconds} s");
        }
        // An agent that the program started holds neither pipe; so both end with the program.
        if (!Task.WaitAll([output, errors], TimeSpan.FromSeconds(10)))
            throw new TimeoutException($"{text}: ended, but something it started holds its output open");
        return new ProgramRun(text, process.ExitCode, output.Result, errors.Result);
    }

    public static Process Start(IReadOnlyList<string> command, IEnumerable<KeyValuePair<string, string>> environment)
    {
        var start = new ProcessStartInfo(command[0], command.Skip(1))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = RepositoryRoot.Path,
        };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return Process.Start(start) ?? throw new InvalidOperationException($"{command[0]} was not started");
    }

    public ProgramRun MustSucceed() =>
        ExitCode == 0 ? this : throw new InvalidOperationException($"{CommandLine}: exit code {ExitCode}\n{Output}\n{Errors}");
}
