using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Clones;
using Snapshots.Sandboxes;
using Xunit;
using KernelPipe = Snapshots.Linux.Syscalls.Pipe;

namespace Snapshots.Descriptors.Tests;

/// <summary>A unix socket that listens under a path: every clone has the name for itself, and the worker it was taken from keeps its own.</summary>
public sealed class ListeningPathTests : SandboxedTests
{
    private const string Worker = """
        import os, socket
        from subject import Subject
        subject = Subject()
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.environ["SUBJECT_DIRECTORY"] + "/listening")
        server.listen(4)
        request = subject.freeze()
        server.settimeout(10)
        accepted, _ = server.accept()
        subject.expect("greeting", b"to the worker", accepted.recv(100))
        subject.answer()
        """;

    /// <summary>Waits for nobody: what it connects to by the path is its own socket.</summary>
    private const string SelfGreetingWorker = """
        import os, socket
        from subject import Subject
        subject = Subject()
        path = os.environ["SUBJECT_DIRECTORY"] + "/listening"
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(4)
        request = subject.freeze()
        server.settimeout(10)
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        client.send(request["id"].encode())
        accepted, _ = server.accept()
        subject.expect("greeting", request["id"].encode(), accepted.recv(100))
        subject.expect("name", path, server.getsockname())
        subject.answer()
        """;

    [Fact]
    public void Clones_side_by_side_listen_under_one_path()
    {
        var path = Path.Combine(FilesDirectory, "listening");
        using var workers = Factory.Create();
        using var worker = new RunningSubject(workers, FilesDirectory, Worker);
        var captured = worker.Capture();
        Assert.Empty(captured.Problems);
        using var firsts = Factory.Create();
        using var first = RestoredTable.From(captured, firsts.InitPid);
        using var seconds = Factory.Create();
        using var second = RestoredTable.From(captured, seconds.InitPid);
        Assert.Equal("connected\n", Connect(firsts, path, "to the first"));
        Assert.Equal("connected\n", Connect(seconds, path, "to the second"));
        Assert.Equal(1, Pending(first));
        Assert.Equal(1, Pending(second));
        // Nothing of that reached the worker: the first connection it accepts is the one made in its own sandbox.
        Assert.Equal("connected\n", Connect(workers, path, "to the worker"));
        Assert.Contains("\"ok\": true", worker.Ask("""{"id":"w","payload":{}}"""), StringComparison.Ordinal);
    }

    [Fact]
    public void A_path_that_was_removed_meanwhile_comes_back_for_the_clones_and_goes_with_the_last()
    {
        using var engine = new SubjectEngine(poolSize: 2);
        engine.Snapshot(SelfGreetingWorker, TestContext.Current.CancellationToken);
        File.Delete(Path.Combine(engine.FilesDirectory, "listening"));
        Assert.Empty(Listing(engine.FilesDirectory));

        using var first = engine.Launch();
        var second = engine.Launch();
        Assert.Contains("\"ok\": true", SubjectEngine.Answer(second), StringComparison.Ordinal);
        second.Dispose();
        // The first still has its path: the file beneath went with neither the second clone nor its process.
        Assert.Contains("\"ok\": true", SubjectEngine.Answer(first), StringComparison.Ordinal);
        first.Dispose();

        Assert.Empty(Listing(engine.FilesDirectory));
    }

    [Fact]
    public void What_stands_at_the_path_already_is_left_alone()
    {
        using var engine = new SubjectEngine(poolSize: 2);
        engine.Snapshot(SelfGreetingWorker, TestContext.Current.CancellationToken);
        var before = Listing(engine.FilesDirectory);
        Assert.Equal(["listening S"], before);

        Assert.Contains("\"ok\": true", SubjectEngine.Answer(engine.Launch()), StringComparison.Ordinal);
        engine.EndClones();
        Assert.Equal(before, Listing(engine.FilesDirectory));

        File.Delete(Path.Combine(engine.FilesDirectory, "listening"));
        File.WriteAllText(Path.Combine(engine.FilesDirectory, "listening"), "");
        Assert.Contains("\"ok\": true", SubjectEngine.Answer(engine.Launch()), StringComparison.Ordinal);
        engine.EndClones();
        Assert.Equal(["listening -"], Listing(engine.FilesDirectory));
    }

    [Fact]
    public void A_path_without_itsFilesDirectory_fails_the_clone_by_name()
    {
        using var engine = new SubjectEngine(poolSize: 2);
        var deeper = Directory.CreateDirectory(Path.Combine(engine.FilesDirectory, "deeper")).FullName;
        engine.Snapshot(SelfGreetingWorker.Replace("/listening", "/deeper/listening", StringComparison.Ordinal), TestContext.Current.CancellationToken);
        Directory.Delete(deeper, recursive: true);

        var failure = Assert.Throws<CloneStartException>(engine.Launch);

        Assert.Contains("listening", failure.Message, StringComparison.Ordinal);
        Assert.Empty(Listing(engine.FilesDirectory));
    }

    /// <summary>Names and kinds: S a socket, - a regular file.</summary>
    private static List<string> Listing(string directory) =>
        [.. Directory.EnumerateFileSystemEntries(directory).Select(path =>
            $"{Path.GetFileName(path)} {(FileStatus.At(path, followLast: false, out var status) != Errno.None ? '?' : status.IsSocket ? 'S' : status.IsRegular ? '-' : '?')}")];

    /// <summary>Connections that wait to be accepted, as a capture of the restored process tells.</summary>
    private static int Pending(RestoredTable restored) => restored.Recapture().Problems.Count(problem => problem.What.Contains("1 connections wait", StringComparison.Ordinal));

    private static string Connect(Sandbox sandbox, string path, string greeting)
    {
        var (read, write) = KernelPipe.Create("output");
        var source = $"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{path}'); s.send(b'{greeting}'); print('connected')";
        SpawnedProcess process;
        using (write)
        {
            process = sandbox.Spawn(new SpawnRequest
            {
                Command = ["/usr/bin/python3", "-c", source],
                Environment = ["PATH=/usr/bin:/bin"],
                WorkingDirectory = "/",
                Descriptors = [null, write, write],
            });
        }
        using (process)
        using (var reader = new StreamReader(new FileStream(read, FileAccess.Read)))
        {
            var text = reader.ReadToEnd();
            _ = process.WaitForExit();
            return text;
        }
    }
}
