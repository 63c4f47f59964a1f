using Snapshots.Sandboxes;
using Xunit;

namespace Snapshots.Descriptors.Tests;

/// <summary>For tests that run subjects in sandboxes: a factory and a directory for the subjects' files, both gone afterwards.</summary>
public abstract class SandboxedTests : IDisposable
{
    /// <summary>The files of tests/Subjects that are about descriptors.</summary>
    public static TheoryData<string> Subjects { get; } = ["files.py", "pipes.py", "events.py", "memory_files.py", "unix_sockets.py", "inet_sockets.py", "watches.py"];

    private protected SandboxFactory Factory { get; } = SandboxFactory.Start();

    private protected string FilesDirectory { get; } = Directory.CreateTempSubdirectory("snapshots-descriptors-").FullName;

    public void Dispose()
    {
        Factory.Dispose();
        Directory.Delete(FilesDirectory, recursive: true);
        GC.SuppressFinalize(this);
    }
}
