using System.Diagnostics;
using System.Text.Json;

namespace Snapshots.Linux.Tests;

/// <summary>A python3 process that set something up, printed one JSON object about it, and waits until it is disposed.</summary>
internal sealed class PythonProbe : IDisposable
{
    private readonly Process _process;

    private PythonProbe(Process process, JsonElement report)
    {
        _process = process;
        Report = report;
    }

    public int Pid => _process.Id;

    public JsonElement Report { get; }

    /// <param name="script">Fills the dictionary <c>report</c>.</param>
    public static PythonProbe Start(string script)
    {
        var start = new ProcessStartInfo("python3") { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add($"import ctypes, json, mmap, os, select, socket, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\nreport = {{}}\n{script}\nprint(json.dumps(report), flush=True)\nsys.stdin.read()\n");
        var process = Process.Start(start)!;
        var line = process.StandardOutput.ReadLine();
        if (line is not null)
            return new PythonProbe(process, JsonDocument.Parse(line).RootElement);
        process.WaitForExit();
        throw new InvalidOperationException($"the probe ended with {process.ExitCode} before it reported");
    }

    public ulong Number(string name) => Report.GetProperty(name).GetUInt64();

    public int Fd(string name) => Report.GetProperty(name).GetInt32();

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
    }
}
