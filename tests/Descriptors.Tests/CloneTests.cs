using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Readiness;
using Xunit;

namespace Snapshots.Descriptors.Tests;

/// <summary>The whole way: a subject is snapshotted, and several clones of it, alive at once, find everything as it was and share nothing.</summary>
public sealed class CloneTests : IDisposable
{
    private const int CloneCount = 4;
    private readonly string _directory = Directory.CreateTempSubdirectory("snapshots-clones-").FullName;
    private readonly ImageStore _store;
    private readonly SnapshotCreator _creator;
    private readonly RestoreEngine _engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = CloneCount });

    public CloneTests()
    {
        _store = ImageStore.Open(Path.Combine(_directory, "store"), new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
        _creator = new SnapshotCreator(_store);
    }

    public void Dispose()
    {
        _engine.Dispose();
        _creator.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Theory]
    [InlineData("files.py")]
    [InlineData("pipes.py")]
    [InlineData("events.py")]
    [InlineData("memory_files.py")]
    [InlineData("unix_sockets.py")]
    [InlineData("inet_sockets.py")]
    [InlineData("watches.py")]
    public void Clones_find_their_descriptors_as_they_were(string script)
    {
        var subjects = Path.Combine(AppContext.BaseDirectory, "Subjects");
        _creator.Create(
            new CreateRequest
            {
                Name = "subject",
                Command = ["/usr/bin/python3", Path.Combine(subjects, script)],
                Ready = new ChannelReadiness(),
                Environment = ["PATH=/usr/bin:/bin", $"SUBJECT_DIRECTORY={_directory}", "PYTHONDONTWRITEBYTECODE=1"],
                WorkingDirectory = _directory,
            },
            progress: null,
            TestContext.Current.CancellationToken);
        using var image = _store.OpenImage("subject");
        // Clones share the files on disk: a watch rightly reports what a sibling does there, so the subject of watches runs alone.
        var clones = Enumerable.Range(0, script == "watches.py" ? 1 : CloneCount)
            .Select(index => _engine.Launch(image, new CloneRequest { Id = $"clone-{index}", PayloadJson = """{"restored":true}""" }))
            .ToList();
        try
        {
            foreach (var clone in clones)
            {
                var answer = Answer(clone);
                Assert.Contains("\"ok\": true", answer, StringComparison.Ordinal);
                Assert.Contains(clone.Id, answer, StringComparison.Ordinal);
            }
        }
        finally
        {
            clones.ForEach(clone => clone.Dispose());
        }
    }

    private static string Answer(Clone clone)
    {
        var answer = new byte[65536];
        SocketMessage.SetReceiveTimeout(clone.Channel!, TimeSpan.FromSeconds(30));
        var errno = SocketMessage.Receive(clone.Channel!, answer, out var length);
        if (errno == Errno.None && length != 0)
            return Encoding.UTF8.GetString(answer, 0, length);
        clone.Kill();
        return $"no answer ({errno}, {clone.WaitForExit()}): {Text(clone.Stderr!)}";
    }

    private static string Text(SafeFileHandle pipe)
    {
        using var reader = new StreamReader(new FileStream(pipe, FileAccess.Read));
        return reader.ReadToEnd();
    }
}
