using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;
using Xunit;

namespace Snapshots.Sandboxes.Tests;

public sealed class SandboxTests : IDisposable
{
    private readonly SandboxFactory _factory = SandboxFactory.Start();

    public void Dispose() => _factory.Dispose();

    [Fact]
    public void A_sandbox_has_namespaces_of_its_own()
    {
        using var sandbox = _factory.Create();
        foreach (var name in new[] { "pid", "mnt", "ipc", "uts", "net" })
            Assert.NotEqual(Namespace("self", name), Namespace(sandbox.InitPid.ToString(CultureInfo.InvariantCulture), name));
    }

    [Fact]
    public void A_spawned_program_runs_inside_with_its_descriptors_and_its_loopback_up()
    {
        using var sandbox = _factory.Create();
        var (output, exit) = Run(sandbox, "sh", "-c", "echo pid $$; cat /proc/self/stat | cut -d' ' -f6; ls /proc | grep -c '^[0-9]'; cat /proc/net/dev | grep -c lo:; ls /proc/self/fd | wc -w; echo err >&2");
        Assert.True(exit.IsSuccess, output);
        var lines = output.Split('\n');
        Assert.Equal("pid 2", lines[0]);
        Assert.Equal("2", lines[1]);
        Assert.True(int.Parse(lines[2], CultureInfo.InvariantCulture) < 8, $"foreign processes are visible: {output}");
        Assert.Equal("1", lines[3]);
    }

    [Fact]
    public void A_missing_program_is_named()
    {
        using var sandbox = _factory.Create();
        var failure = Assert.Throws<SpawnException>(() => Run(sandbox, "/no/such/program"));
        Assert.Contains("/no/such/program", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_is_no_program_reports_the_kernel_s_answer()
    {
        var script = Path.GetTempFileName();
        try
        {
            File.WriteAllText(script, "neither ELF nor script");
            File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            using var sandbox = _factory.Create();
            var failure = Assert.Throws<SpawnException>(() => Run(sandbox, script));
            var cause = Assert.IsType<Snapshots.Programs.ProgramFailedException>(failure.InnerException);
            Assert.Equal(Errno.ENOEXEC, cause.Errno);
        }
        finally
        {
            File.Delete(script);
        }
    }

    [Fact]
    public void Disposing_a_sandbox_ends_everything_inside()
    {
        var sandbox = _factory.Create();
        using var process = Spawn(sandbox, ["sleep", "1000"], []);
        var init = sandbox.InitPid;
        sandbox.Kill();
        Assert.True(process.WaitForExit().Signaled);
        sandbox.Dispose();
        Assert.False(Directory.Exists($"/proc/{init}"));
    }

    [Fact]
    public void The_pool_hands_out_different_sandboxes_and_refills()
    {
        using var pool = new SandboxPool(SandboxFactory.Start(), depth: 3);
        pool.WaitUntilFull(TestContext.Current.CancellationToken);
        var taken = Enumerable.Range(0, 5).Select(_ => pool.Take()).ToList();
        Assert.Equal(5, taken.Select(sandbox => sandbox.InitPid).Distinct().Count());
        pool.WaitUntilFull(TestContext.Current.CancellationToken);
        Assert.Equal(3, pool.ReadyCount);
        taken.ForEach(sandbox => sandbox.Dispose());
    }

    [Fact]
    public void A_pool_that_could_not_refill_says_why_and_refills_once_it_can()
    {
        using var pool = new SandboxPool(SandboxFactory.Start(), depth: 2);
        pool.WaitUntilFull(TestContext.Current.CancellationToken);
        var limit = Prlimit.Get(Environment.ProcessId, ResourceKind.OpenFiles);
        // The first comparison loads assemblies, for which there are no descriptors below.
        Assert.Equal(Errno.None, Prlimit.Set(Environment.ProcessId, ResourceKind.OpenFiles, limit));
        var taken = new List<Sandbox>();
        var errors = new List<Errno>();
        try
        {
            // No new descriptor: neither the filler nor a caller can make a sandbox. Nor can an assembly be loaded that an assertion may need, so
            // they come after.
            errors.Add(Prlimit.Set(Environment.ProcessId, ResourceKind.OpenFiles, new ResourceLimits(0, limit.Hard)));
            taken.AddRange([pool.Take(), pool.Take()]);
            errors.Add(ErrnoOf(() => taken.Add(pool.Take())));
            errors.Add(ErrnoOf(() => pool.WaitUntilFull(TestContext.Current.CancellationToken)));
        }
        finally
        {
            Prlimit.Set(Environment.ProcessId, ResourceKind.OpenFiles, limit);
        }
        Assert.Equal([Errno.None, Errno.EMFILE, Errno.EMFILE], errors);
        taken.Add(pool.Take());
        pool.WaitUntilFull(TestContext.Current.CancellationToken);
        Assert.Equal(2, pool.ReadyCount);
        taken.ForEach(sandbox => sandbox.Dispose());
    }

    private static Errno ErrnoOf(Action call)
    {
        try
        {
            call();
            return Errno.None;
        }
        catch (LinuxException e)
        {
            return e.Errno;
        }
    }

    private static string Namespace(string pid, string name) => File.ResolveLinkTarget($"/proc/{pid}/ns/{name}", returnFinalTarget: false)?.Name
        ?? throw new InvalidOperationException($"no namespace {name} of {pid}");

    private static (string Output, ExitStatus Exit) Run(Sandbox sandbox, params string[] command)
    {
        var (read, write) = Pipe.Create("test output");
        using (read)
        {
            SpawnedProcess process;
            using (write)
                process = Spawn(sandbox, command, [write, write, write]);
            using (process)
            using (var reader = new StreamReader(new FileStream(read, FileAccess.Read)))
                return (reader.ReadToEnd(), process.WaitForExit());
        }
    }

    private static SpawnedProcess Spawn(Sandbox sandbox, string[] command, SafeFileHandle?[] descriptors) => sandbox.Spawn(new SpawnRequest
    {
        Command = command,
        Environment = ["PATH=/usr/bin:/bin"],
        WorkingDirectory = "/",
        Descriptors = descriptors,
    });
}
