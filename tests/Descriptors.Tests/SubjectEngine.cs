using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Descriptors.Tests;

/// <summary>The whole way for one subject: a directory and a store of its own, a creator, an engine, and its clones, which end with it.</summary>
internal sealed class SubjectEngine : IDisposable
{
    private readonly string _home = Directory.CreateTempSubdirectory("snapshots-clones-").FullName;
    private readonly ImageStore _store;
    private readonly SnapshotCreator _creator;
    private readonly RestoreEngine _engine;
    private readonly List<Clone> _clones = [];
    private SnapshotImage? _image;

    public SubjectEngine(int poolSize)
    {
        FilesDirectory = Directory.CreateDirectory(Path.Combine(_home, "files")).FullName;
        _store = ImageStore.Open(Path.Combine(_home, "store"), new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
        _creator = new SnapshotCreator(_store);
        _engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = poolSize });
    }

    /// <summary>Where the subject is told to keep its files, and its working directory.</summary>
    public string FilesDirectory { get; }

    /// <param name="script">A file of tests/Subjects, or source text when it has line breaks.</param>
    /// <param name="cancellation">Of the test.</param>
    public void Snapshot(string script, CancellationToken cancellation)
    {
        _creator.Create(
            new CreateRequest
            {
                Name = "subject",
                Command = RunningSubject.CommandOf(script),
                Ready = new ChannelReadiness(),
                Environment = RunningSubject.EnvironmentOf(FilesDirectory),
                WorkingDirectory = FilesDirectory,
            },
            progress: null,
            cancellation);
        _image = _store.OpenImage("subject");
    }

    /// <summary>A clone with its request on the way.</summary>
    public Clone Launch()
    {
        var clone = _engine.Launch(_image!, new CloneRequest { Id = $"clone-{_clones.Count}", PayloadJson = """{"restored":true}""" });
        _clones.Add(clone);
        return clone;
    }

    /// <summary>The line that a clone answers; why there is none, when there is none.</summary>
    public static string Answer(Clone clone)
    {
        var answer = new byte[65536];
        SocketMessage.SetReceiveTimeout(clone.Channel!, TimeSpan.FromSeconds(30));
        var errno = SocketMessage.Receive(clone.Channel!, answer, out var length);
        if (errno == Errno.None && length != 0)
            return Encoding.UTF8.GetString(answer, 0, length);
        clone.Kill();
        return $"no answer ({errno}, {clone.WaitForExit()}): {Text(clone.Stderr!)}";
    }

    public void EndClones()
    {
        _clones.ForEach(clone => clone.Dispose());
        _clones.Clear();
    }

    public void Dispose()
    {
        EndClones();
        _engine.Dispose();
        _image?.Dispose();
        _creator.Dispose();
        Directory.Delete(_home, recursive: true);
    }

    private static string Text(SafeFileHandle pipe)
    {
        using var reader = new StreamReader(new FileStream(pipe, FileAccess.Read));
        return reader.ReadToEnd();
    }
}
