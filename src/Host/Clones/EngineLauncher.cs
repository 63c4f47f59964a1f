using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Snapshots.Client;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Programs;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;

namespace Snapshots.Host.Clones;

/// <summary>Launches clones with the restore engine, from the images of one store. The engine closes an image together with its template.</summary>
public sealed class EngineLauncher : ICloneLauncher, IDisposable
{
    private readonly ImageStore _store;
    private readonly RestoreEngine _engine;
    private readonly ILogger _log;

    private EngineLauncher(ImageStore store, RestoreEngine engine, long? templateMemoryBytes, ILogger log)
    {
        _log = log;
        _store = store;
        _engine = engine;
        TemplateMemoryBytes = templateMemoryBytes;
    }

    public long? TemplateMemoryBytes { get; }

    /// <param name="log">Told which templates are dropped for memory.</param>
    /// <exception cref="AgentException">The store cannot be opened, or the engine cannot start here.</exception>
    public static EngineLauncher Start(string storeDirectory, RestoreOptions options, ILogger log) => Translated(() =>
    {
        var logged = options with
        {
            TemplateEvicted = gone => AgentLog.TemplateDropped(log, gone.Name, gone.Digest, Mebibytes(gone.ResidentBytes), gone.Idle.TotalSeconds),
            FillFailed = (source, cause) => AgentLog.FillFailed(log, source.Name, source.Digest, cause.Message),
            TemplateUnshared = layer => AgentLog.TemplateUnshared(log, layer.Name, layer.Digest, layer.ParentName, layer.Reason),
            TemplateOversized = large => AgentLog.TemplateOversized(log, large.Name, large.Digest, Mebibytes(large.ResidentBytes), Mebibytes(large.BudgetBytes)),
        };
        if (options.TemplateMemoryBytes is { } budget)
            AgentLog.TemplateMemory(log, Mebibytes(budget));
        return new EngineLauncher(HostStore.Open(storeDirectory), RestoreEngine.Start(logged), options.TemplateMemoryBytes, log);
    });

    public IPreparedSnapshot Prepare(string reference) => Translated<IPreparedSnapshot>(() =>
    {
        var digest = _store.Resolve(reference);
        var source = SourceOf(reference, digest);
        return new PreparedSnapshot(_engine, source, _engine.Use(source), _log);
    });

    /// <summary>By digest: the name may point elsewhere by the time a template is built. A parent may be gone, which shows when it is opened.</summary>
    private TemplateSource SourceOf(string reference, SnapshotDigest digest) => new(reference, digest.ToString(), () => _store.OpenImage(digest.ToString()))
    {
        ReadWorkingSet = () => ReadWorkingSet(digest),
        SaveWorkingSet = set => SaveWorkingSet(digest, set),
        ParentOf = layer => SnapshotDigest.FromBytes(layer.ParentSha256.Span) is var parent && layer.ParentName.Length > 0
            ? SourceOf(layer.ParentName, parent)
            : SourceOf(parent.ToString(), parent),
    };

    public IReadOnlyList<TemplateStatus> ListTemplates() => _engine.ListTemplates();

    public void Dispose() => _engine.Dispose();

    /// <summary>Without one, clones answer later and nothing else: no reason to refuse a template.</summary>
    private WorkingSet? ReadWorkingSet(SnapshotDigest digest)
    {
        try
        {
            return _store.TryReadWorkingSet(digest);
        }
        catch (ImageException e)
        {
            AgentLog.WorkingSetProblem(_log, digest.ToString(), e.Message);
            return null;
        }
    }

    private void SaveWorkingSet(SnapshotDigest digest, WorkingSet set)
    {
        try
        {
            _store.SaveWorkingSet(digest, set);
        }
        catch (ImageException e)
        {
            AgentLog.WorkingSetProblem(_log, digest.ToString(), e.Message);
        }
    }

    private static double Mebibytes(long bytes) => Math.Round(bytes / (1024.0 * 1024), 1);

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

    private sealed class PreparedSnapshot(RestoreEngine engine, TemplateSource source, TemplateUse use, ILogger log) : IPreparedSnapshot
    {
        public string Digest => source.Digest;

        // Not from the use's template: one that died meanwhile is built anew.
        public IRunningClone Launch(CloneOrder order) => Translated<IRunningClone>(() => new RunningClone(engine.Launch(source, new CloneRequest
        {
            Id = order.Id,
            PayloadJson = order.PayloadJson,
            Environment = order.Environment,
            EndsWithAnswer = order.EndsWithAnswer,
        }), source.Digest, log));

        public void Dispose() => use.Dispose();
    }

    private sealed class RunningClone(Clone clone, string digest, ILogger log) : IRunningClone
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

        public void NoteAnswered()
        {
            try
            {
                clone.NoteAnswered();
            }
            catch (Exception e) when (e is LinuxException or IOException or InvalidOperationException)
            {
                // On a thread that nobody waits for: what could not be learned must cost no more than a line.
                AgentLog.WorkingSetProblem(log, digest, e.Message);
            }
        }

        public string? Failure => clone.Failure;

        public ProcessMemory? ReadMemory() => clone.ReadMemory();

        public ExitStatus? TryGetExit() => clone.TryGetExit();

        public void Kill() => clone.Kill();

        public void Dispose() => clone.Dispose();
    }
}
