using System.Diagnostics;
using System.Text.Json;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>What cannot be frozen or restored is refused with a report, an exit code, and a target that lives.</summary>
public class RefusalTests
{
    private const int NotFound = 3;
    private const int Refused = 4;
    private const int ImageCorrupt = 5;
    private const int NotReady = 9;

    [Fact]
    public void A_process_with_children_and_connections_is_refused_with_every_reason_and_runs_on()
    {
        using var farm = new Farm();
        using var target = ProgramRun.Start(["python3", "-c", """
            import os, socket, sys, threading, time
            server = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            child = os.fork()
            if child == 0:
                time.sleep(1000)
            print("set up", child, flush=True)
            print("alive", sys.stdin.readline(), flush=True)
            os.kill(child, 9)
            """], []);
        try
        {
            Assert.StartsWith("set up", target.StandardOutput.ReadLine(), StringComparison.Ordinal);

            var run = farm.Execute("--json", "create", "refused", "--pid", $"{target.Id}");

            Assert.Equal(Refused, run.ExitCode);
            var problems = JsonDocument.Parse(run.Errors).RootElement.GetProperty("error").GetProperty("problems").EnumerateArray().ToList();
            Assert.True(problems.Count >= 3, $"a child and two ends of a connection are three reasons: {run.Errors}");
            Assert.All(problems, problem => Assert.NotEmpty(problem.GetProperty("cure").GetString()!));
            Assert.Equal("[]", farm.Execute("--json", "ls").MustSucceed().Output.Trim());
            target.StandardInput.WriteLine("still there");
            Assert.Equal("alive still there", target.StandardOutput.ReadLine());
        }
        finally
        {
            target.StandardInput.Close();
            if (!target.WaitForExit(TimeSpan.FromSeconds(10)))
                target.Kill(entireProcessTree: true);
        }
    }

    [Fact]
    public void A_worker_that_ends_before_it_is_ready_is_reported_with_its_output()
    {
        using var farm = new Farm();
        var run = farm.Execute("create", "broken", "--ready", "channel", "--", "sh", "-c", "echo no such table >&2; exit 3");
        Assert.Equal(NotReady, run.ExitCode);
        Assert.Contains("no such table", run.Errors, StringComparison.Ordinal);
        Assert.Contains("3", run.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_that_is_not_there_is_not_found()
    {
        using var farm = new Farm();
        Assert.Equal(NotFound, farm.Execute("clone", "nobody", "--wait").ExitCode);
        Assert.Equal(NotFound, farm.Execute("inspect", "nobody").ExitCode);
        Assert.Equal(NotFound, farm.Execute("rm", "nobody").ExitCode);
    }

    [Theory]
    [InlineData("truncated")]
    [InlineData("bit flipped")]
    [InlineData("missing")]
    public void A_damaged_image_is_refused(string damage)
    {
        using var farm = new Farm();
        farm.Create("shell", Workers.Example("shell"));
        foreach (var blob in Directory.GetFiles(Path.Combine(farm.Store, "blobs", "sha256")))
            Damage(blob, damage);

        var run = farm.Execute("clone", "shell", "--payload", "{\"key\":1}", "--wait");

        Assert.Equal(damage == "missing" ? NotFound : ImageCorrupt, run.ExitCode);
        Assert.Contains("blobs", run.Errors, StringComparison.Ordinal);
        Assert.Empty(farm.Processes());
    }

    [Fact]
    public void A_removed_snapshot_leaves_an_empty_store()
    {
        using var farm = new Farm();
        farm.Create("shell", Workers.Example("shell"));
        farm.Execute("rm", "shell").MustSucceed();
        Assert.Empty(Directory.GetFiles(Path.Combine(farm.Store, "blobs", "sha256")));
        Assert.Empty(Directory.GetFiles(Path.Combine(farm.Store, "names")));
    }

    [Fact]
    public void A_running_process_is_frozen_and_goes_on()
    {
        using var farm = new Farm();
        using var target = ProgramRun.Start(["python3", "-c", """
            import os, sys, threading
            os.closerange(3, 1024) # whatever the test's own parent left open
            numbers = list(range(100000))
            print("set up", flush=True)
            for line in sys.stdin:
                print(sum(numbers) + int(line), flush=True)
            """], []);
        try
        {
            Assert.Equal("set up", target.StandardOutput.ReadLine());
            farm.Execute("create", "running", "--pid", $"{target.Id}", "--keep-running").MustSucceed();
            target.StandardInput.WriteLine("1");
            Assert.Equal("4999950001", target.StandardOutput.ReadLine());
            var details = farm.ExecuteJson("inspect", "running");
            Assert.Equal(target.Id, details.GetProperty("processes")[0].GetProperty("pid").GetInt32());
        }
        finally
        {
            target.StandardInput.Close();
            if (!target.WaitForExit(TimeSpan.FromSeconds(10)))
                target.Kill();
        }
    }

    private static void Damage(string file, string damage)
    {
        if (damage == "missing")
        {
            File.Delete(file);
            return;
        }
        using var stream = new FileStream(file, FileMode.Open, FileAccess.ReadWrite);
        if (damage == "truncated")
        {
            stream.SetLength(stream.Length / 2);
            return;
        }
        stream.Position = stream.Length / 2;
        var value = stream.ReadByte();
        stream.Position--;
        stream.WriteByte((byte)(value ^ 0x10));
    }
}
