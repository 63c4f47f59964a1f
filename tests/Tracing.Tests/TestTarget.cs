using System.Diagnostics;
using System.Globalization;
using Snapshots.Linux.Syscalls;

namespace Snapshots.TestTargets;

/// <summary>A real process to be stopped and looked into: talks by lines over stdin and stdout. Disposing kills it.</summary>
/// <remarks>
/// A shell stands between us and the target: the handler of System.Diagnostics.Process for SIGCHLD asks waitpid(2) for each of its children, and
/// the kernel then hands it a traced child's stops, which the tracer waits for.
/// </remarks>
internal sealed class TestTarget : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private readonly Process _process;

    private TestTarget(Process shell)
    {
        _process = shell;
        Pid = int.Parse(ReadLine(), CultureInfo.InvariantCulture);
    }

    public int Pid { get; }

    public bool IsAlive => Directory.Exists($"/proc/{Pid}");

    public static TestTarget Python(string script) => Start("python3", "-u", "-c", script);

    /// <summary>Compiles a C program, starts it, and waits for its first line; its file is gone then.</summary>
    public static TestTarget C(string source, params string[] options)
    {
        var directory = Directory.CreateTempSubdirectory("snapshots-target-");
        try
        {
            var file = Path.Combine(directory.FullName, "target.c");
            var binary = Path.Combine(directory.FullName, "target");
            File.WriteAllText(file, source);
            using var compiler = Process.Start(new ProcessStartInfo("gcc", ["-O1", "-o", binary, file, .. options]) { RedirectStandardError = true })!;
            var errors = compiler.StandardError.ReadToEnd();
            compiler.WaitForExit();
            if (compiler.ExitCode != 0)
                throw new InvalidOperationException($"gcc: {errors}");
            var target = Start(binary);
            target.ReadLine();
            return target;
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    public static TestTarget Start(string program, params string[] arguments)
    {
        // Descriptors that whoever started the tests left open must not reach the target: a freeze would refuse them.
        const string Shell = """
            for file in /proc/$BASHPID/fd/*; do number=${file##*/}; if ((number > 2)); then eval "exec $number>&-"; fi; done 2>/dev/null
            exec 3<&0
            (echo $BASHPID; exec "$@" <&3 3<&-) &
            exec 3<&-
            wait $!
            """;
        var process = Process.Start(new ProcessStartInfo("bash", ["-c", Shell, "bash", program, .. arguments]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        return new TestTarget(process);
    }

    public string ReadLine()
    {
        var line = _process.StandardOutput.ReadLineAsync();
        if (!line.Wait(Patience))
            throw new TimeoutException($"pid {Pid} said nothing for {Patience.TotalSeconds} s");
        return line.Result ?? throw new EndOfStreamException($"pid {Pid} ended its output");
    }

    public void WriteLine(string line)
    {
        _process.StandardInput.WriteLine(line);
        _process.StandardInput.Flush();
    }

    public void Dispose()
    {
        ThreadSignal.SendToProcess(Pid, ThreadSignal.SIGKILL);
        _process.WaitForExit();
        _process.Dispose();
    }
}
