using System.Collections.Concurrent;
using Microsoft.Win32.SafeHandles;
using Snapshots.Client;
using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;

namespace Snapshots.Host.Clones;

/// <summary>Launches clones with the restore engine, from the images of one store. Images stay open as long as their templates live.</summary>
public sealed class EngineLauncher : ICloneLauncher, IDisposable
{
    private readonly ImageStore _store;
    private readonly RestoreEngine _engine;
    private readonly ConcurrentDictionary<string, Lazy<SnapshotImage>> _images = [];

    private EngineLauncher(ImageStore store, RestoreEngine engine)
    {
        _store = store;
        _engine = engine;
    }

    /// <exception cref="AgentException">The store cannot be opened, or the engine cannot start here.</exception>
    public static EngineLauncher Start(string storeDirectory, RestoreOptions options) => Translated(() =>
        new EngineLauncher(HostStore.Open(storeDirectory), RestoreEngine.Start(options)));

    public IPreparedSnapshot Prepare(string reference) => Translated<IPreparedSnapshot>(() =>
    {
        var digest = _store.Resolve(reference).ToString();
        var opened = _images.GetOrAdd(digest, key => new Lazy<SnapshotImage>(() => _store.OpenImage(key)));
        try
        {
            _engine.Prepare(opened.Value);
            return new PreparedSnapshot(_engine, opened.Value);
        }
        catch
        {
            // Not remembered: it may be whole, or supported, the next time.
            _images.TryRemove(KeyValuePair.Create(digest, opened));
            throw;
        }
    });

    public void Dispose()
    {
        _engine.Dispose();
        foreach (var opened in _images.Values.Where(opened => opened.IsValueCreated))
            opened.Value.Dispose();
    }

    private static T Translated<T>(Func<T> call)
    {
        try
        {
            return call();
        }
        catch (ImageException e)
        {
            throw new AgentException(CodeOf(e.Failure), e.Message, e);
        }
        catch (RestoreUnsupportedException e)
        {
            throw new AgentException(FarmErrorCode.IncompatibleHost, e.Message, e);
        }
        catch (ArgumentException e)
        {
            throw new AgentException(FarmErrorCode.InvalidRequest, e.Message, e);
        }
        catch (Exception e) when (e is CloneStartException or ProgramFailedException or HuskDiedException or LinuxException or IOException or UnauthorizedAccessException)
        {
            throw new AgentException(FarmErrorCode.StartFailed, e.Message, e);
        }
    }

    private static FarmErrorCode CodeOf(ImageFailure failure) => failure switch
    {
        ImageFailure.NotFound => FarmErrorCode.NotFound,
        ImageFailure.InvalidName => FarmErrorCode.InvalidRequest,
        ImageFailure.UnsupportedVersion => FarmErrorCode.IncompatibleHost,
        ImageFailure.WriteFailed => FarmErrorCode.Internal,
        _ => FarmErrorCode.ImageCorrupt,
    };

    private sealed class PreparedSnapshot(RestoreEngine engine, SnapshotImage image) : IPreparedSnapshot
    {
        public string Digest { get; } = image.Digest.ToString();

        public IRunningClone Launch(CloneOrder order) => Translated<IRunningClone>(() => new RunningClone(engine.Launch(image, new CloneRequest
        {
            Id = order.Id,
            PayloadJson = order.PayloadJson,
            Environment = order.Environment,
        })));
    }

    private sealed class RunningClone(Clone clone) : IRunningClone
    {
        public int HostPid => clone.HostPid;

        public Client.V1.CloneTimings Timings { get; } = new()
        {
            Order = clone.Timings.Order,
            Fork = clone.Timings.Fork,
            Sandbox = clone.Timings.Sandbox,
            Descriptors = clone.Timings.Descriptors,
            Threads = clone.Timings.Threads,
            Finish = clone.Timings.Finish,
            Running = clone.Timings.Running,
            Parked = clone.Timings.WasParked,
        };

        public SafeFileHandle? Stdin => clone.Stdin;

        public SafeFileHandle? Stdout => clone.Stdout;

        public SafeFileHandle? Stderr => clone.Stderr;

        public SafeFileHandle? Channel => clone.Channel;

        public SafeFileHandle PidFd => clone.PidFd;

        public void NoteAnswered() => clone.NoteAnswered();

        public ExitStatus? TryGetExit() => clone.TryGetExit();

        public void Kill() => clone.Kill();

        public void Dispose() => clone.Dispose();
    }
}
