using System.Globalization;
using System.Text;
using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Readiness;

namespace Snapshots.Engine.Tests;

/// <summary>A store, a creator and an engine of a test's own, and a count of what the test process holds.</summary>
internal sealed class EngineFixture : IDisposable
{
    /// <summary>The collection of all tests here: they count the children and descriptors of the whole test process, so they run one after the other.</summary>
    public const string Alone = "one after the other";

    /// <summary>Two threads, a pipe, an eventfd, an epoll instance and a file: something for every stage of a clone program.</summary>
    public const string Worker = """
        import os, select, sys, threading
        os.closerange(4, 1024)
        keep = [os.pipe(), os.eventfd(3), open("/etc/passwd"), select.epoll()]
        keep[3].register(keep[0][0], select.EPOLLIN)
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        state = 0
        os.write(3, b"ready\n")
        while True:
            line = os.read(3, 65536)
            if not line:
                os._exit(0)
            state += 1
            os.write(3, b"%d %d\n" % (os.getpid(), state))
        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("snapshots-engine-").FullName;

    /// <param name="parkedClones">None unless a test asks: faults are injected into what forks on demand.</param>
    /// <param name="options">What else a test wants of its engine.</param>
    public EngineFixture(int parkedClones = 0, RestoreOptions? options = null)
    {
        Store = SnapshotStore.Open(Path.Combine(_directory, "store"), new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire)).Images;
        Creator = new SnapshotCreator(Store);
        Engine = RestoreEngine.Start((options ?? new RestoreOptions()) with { SandboxPoolSize = 2, ParkedClones = parkedClones });
    }

    public ImageStore Store { get; }

    public SnapshotCreator Creator { get; }

    public RestoreEngine Engine { get; }

    /// <param name="worker">Source text of a program that speaks the channel on descriptor 3.</param>
    /// <param name="interpreter">What runs it, with the option that takes source text.</param>
    public SnapshotImage Create(CancellationToken cancellation, string worker = Worker, string interpreter = "python3 -c", string name = "worker") =>
        Create(["/usr/bin/env", .. interpreter.Split(' '), worker], cancellation, name);

    public SnapshotImage Create(IReadOnlyList<string> command, CancellationToken cancellation, string name = "worker")
    {
        Creator.Create(
            new CreateRequest
            {
                Name = name,
                Command = command,
                Ready = new ChannelReadiness(),
                Environment = [$"PATH={Environment.GetEnvironmentVariable("PATH")}"],
                WorkingDirectory = "/",
            },
            progress: null,
            cancellation);
        return Store.OpenImage(name);
    }

    public Clone Launch(SnapshotImage image) => Engine.Launch(image, new CloneRequest { Id = "clone" });

    /// <summary>Freezes a clone, which runs on.</summary>
    public SnapshotImage CreateFrom(Clone clone, string name, CancellationToken cancellation)
    {
        Creator.Create(new CreateRequest { Name = name, Pid = clone.HostPid, KeepRunning = true }, progress: null, cancellation);
        return Store.OpenImage(name);
    }

    /// <summary>The next line of a clone's channel.</summary>
    public static string Answer(Clone clone)
    {
        var answer = new byte[4096];
        SocketMessage.SetReceiveTimeout(clone.Channel!, TimeSpan.FromSeconds(30));
        var errno = SocketMessage.Receive(clone.Channel!, answer, out var length);
        return errno == Errno.None && length > 0 ? Encoding.UTF8.GetString(answer, 0, length).Trim() : throw new InvalidOperationException($"no answer: {errno}, {length} bytes");
    }

    public static void Ask(Clone clone, string request = "{}")
    {
        var errno = SocketMessage.Send(clone.Channel!, Encoding.UTF8.GetBytes(request + '\n'));
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, "channel");
    }

    /// <summary>
    /// Our children, zombies included, and our descriptors by what they refer to, when the pool is full: what a failed launch must not change.
    /// Inode numbers are left out: a sandbox that was used up is replaced by another. So are files that the runtime opens when it likes: assemblies, and meminfo for a collection.
    /// </summary>
    public string Held(CancellationToken cancellation)
    {
        Engine.Sandboxes.WaitUntilFull(cancellation);
        var descriptors = Directory.EnumerateFileSystemEntries("/proc/self/fd")
            .Select(path => ReadLink.Read(path, out var target) == Errno.None ? Path.GetFileName(target) : string.Empty)
            .Where(target => Path.GetExtension(target) is not (".dll" or ".pdb") && target != "meminfo")
            .GroupBy(target => target.Split(':')[0], StringComparer.Ordinal)
            .OrderBy(group => group.Key, StringComparer.Ordinal)
            .Select(group => $"{group.Count()} {group.Key}");
        return $"{Children().Count} children; {string.Join(", ", descriptors)}";
    }

    public static List<int> Children()
    {
        while (true)
        {
            try
            {
                return [.. Directory.EnumerateDirectories("/proc/self/task")
                    .SelectMany(task => File.ReadAllText(Path.Combine(task, "children")).Split(' ', StringSplitOptions.RemoveEmptyEntries))
                    .Select(pid => int.Parse(pid, CultureInfo.InvariantCulture))];
            }
            catch (IOException)
            {
                // A thread has ended meanwhile, and its children are another's now.
            }
        }
    }

    public void Dispose()
    {
        Engine.Dispose();
        Creator.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
