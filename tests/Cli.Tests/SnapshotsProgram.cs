using System.Diagnostics;

namespace Snapshots.Cli.Tests;

/// <summary>How a run of the program ended and what it said.</summary>
internal sealed record ProgramRun(int ExitCode, string Output, string Errors);

/// <summary>The real program, with a store and a run directory of its own. Disposal stops an agent that a run started.</summary>
internal sealed class SnapshotsProgram : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-cli-");

    public string Store => Path.Combine(_directory.FullName, "store");

    public string RunDirectory => Path.Combine(_directory.FullName, "run");

    public ProgramRun Run(params IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo("dotnet", [typeof(CommandLine).Assembly.Location, .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        start.Environment["SNAPSHOTS_STORE"] = Store;
        start.Environment["SNAPSHOTS_RUN"] = RunDirectory;
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new ProgramRun(process.ExitCode, output, errors.Result);
    }

    public void Dispose()
    {
        if (Directory.Exists(RunDirectory))
            Run("serve", "--stop");
        _directory.Delete(recursive: true);
    }
}
