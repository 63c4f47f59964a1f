using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Snapshots.Client;
using Snapshots.Client.V1;

namespace Snapshots.Host.Clones;

/// <summary>
/// All clones of one agent: launches them, knows them by id, ends them. Thread-safe.
/// A record enters the registry before the pump watches it and leaves when it is one of too many ended ones.
/// </summary>
public sealed class CloneFarm : IDisposable
{
    private readonly ICloneLauncher _launcher;
    private readonly string _logRoot;
    private readonly ConcurrentDictionary<string, CloneRecord> _clones = [];
    private readonly ConcurrentQueue<CloneRecord> _endedOrder = [];
    private readonly LaunchQueue _queue;
    private readonly OutputPump _pump;
    private readonly Action<string> _warn;
    private volatile bool _stopping;

    /// <param name="logRoot">Each clone that writes something gets a directory there.</param>
    /// <param name="launcherThreads">Launches under way at once.</param>
    /// <param name="warn">Told what went wrong where no caller can be; called from the farm's threads.</param>
    public CloneFarm(ICloneLauncher launcher, string logRoot, int launcherThreads, Action<string> warn)
    {
        _warn = warn;
        _launcher = launcher;
        _logRoot = logRoot;
        _queue = new LaunchQueue(launcherThreads);
        _pump = new OutputPump(Remember, warn);
    }

    public int RunningCount => _clones.Values.Count(clone => !clone.Ended.IsCompleted);

    public CloneRecord? Find(string id) => _clones.GetValueOrDefault(id);

    /// <summary>Oldest first.</summary>
    public IReadOnlyList<CloneRecord> List(bool includeEnded) =>
        [.. _clones.Values.Where(clone => includeEnded || !clone.Ended.IsCompleted).OrderBy(clone => clone.Started)];

    /// <summary>Templates in memory with what belongs to their snapshots, the last used first. Reads the memory of all of them; stops nobody.</summary>
    /// <param name="digest">Of one snapshot; null for all.</param>
    public IReadOnlyList<TemplateStatus> ListTemplates(string? digest)
    {
        // Templates first: a parked clone that is started in between is then counted as a live one, and only so.
        var templates = _launcher.ListTemplates().Where(template => digest is null || template.Digest == digest).ToList();
        var clones = List(includeEnded: false).ToLookup(clone => clone.Digest, StringComparer.Ordinal);
        return [.. templates.OrderBy(template => template.Idle).Select(template => MemoryMessages.Describe(template, [.. clones[template.Digest]]))];
    }

    /// <summary>Resident memory that all templates together may have, in bytes; null when there is no limit.</summary>
    public long? TemplateMemoryBytes => _launcher.TemplateMemoryBytes;

    /// <summary>
    /// Orders the clones of <paramref name="request"/>. Exactly one Started or Failed follows for each, and for started ones of a waiting
    /// request an Answered when there is an answer, and an Exited. Orders that are still queued when <paramref name="cancellation"/> is
    /// cancelled are reported as failed.
    /// </summary>
    /// <param name="listener">Called from the farm's threads; must not block.</param>
    /// <exception cref="AgentException">The snapshot is missing or unusable, or the request contradicts itself; nothing was launched.</exception>
    public void Order(CloneRequest request, Action<CloneEvent> listener, CancellationToken cancellation)
    {
        var count = CheckedCount(request);
        var prepared = _launcher.Prepare(request.Snapshot);
        var left = count;
        for (var i = 0; i < count; i++)
        {
            var index = i;
            try
            {
                _queue.Enqueue(() =>
                {
                    LaunchOne(request, prepared, index, listener, cancellation);
                    Done(1);
                });
            }
            catch
            {
                Done(count - i);
                throw;
            }
        }

        void Done(int orders)
        {
            if (Interlocked.Add(ref left, -orders) == 0)
                prepared.Dispose();
        }
    }

    /// <summary>Ends one clone; false when it had ended already. The record's <see cref="CloneRecord.Ended"/> tells when it is gone.</summary>
    public static bool Kill(CloneRecord clone)
    {
        if (clone.Ended.IsCompleted)
            return false;
        clone.Process.Kill();
        return true;
    }

    /// <summary>Ends all clones and waits until they are gone. Later orders fail.</summary>
    /// <returns>Clones that were still there when <paramref name="timeout"/> had passed; none, normally.</returns>
    public async Task<IReadOnlyList<CloneRecord>> KillAll(TimeSpan timeout)
    {
        _stopping = true;
        var running = List(includeEnded: false);
        foreach (var clone in running)
            Kill(clone);
        await Task.WhenAny(Task.WhenAll(running.Select(clone => clone.Ended)), Task.Delay(timeout)).ConfigureAwait(false);
        return List(includeEnded: false);
    }

    /// <summary>Kills what <see cref="KillAll"/> left, and removes the logs.</summary>
    public void Dispose()
    {
        _stopping = true;
        _queue.Dispose();
        _pump.Dispose();
        foreach (var clone in _clones.Values)
            clone.Dispose();
        if (Directory.Exists(_logRoot))
            Directory.Delete(_logRoot, recursive: true);
    }

    private static int CheckedCount(CloneRequest request)
    {
        var count = request.Count == 0 ? 1 : request.Count;
        if (count > AgentLimits.MaxClonesPerRequest)
            throw new AgentException(FarmErrorCode.InvalidRequest, $"{count} clones are asked for; one request launches at most {AgentLimits.MaxClonesPerRequest}");
        if (request.Payloads.Count > 1 && request.Payloads.Count != count)
            throw new AgentException(FarmErrorCode.InvalidRequest, $"{request.Payloads.Count} payloads for {count} clones: give none, one, or one for each");
        var longest = request.Payloads.Count == 0 ? 0 : request.Payloads.Max(Encoding.UTF8.GetByteCount);
        if (longest > AgentLimits.MaxPayloadBytes)
            throw new AgentException(FarmErrorCode.InvalidRequest, $"a payload has {longest} bytes; at most {AgentLimits.MaxPayloadBytes} are allowed: pass a reference to the data instead");
        return (int)count;
    }

    private void LaunchOne(CloneRequest request, IPreparedSnapshot prepared, int index, Action<CloneEvent> listener, CancellationToken cancellation)
    {
        var id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6));
        try
        {
            if (_stopping || cancellation.IsCancellationRequested)
                throw new AgentException(FarmErrorCode.Cancelled, _stopping ? "the agent is stopping" : "the request was cancelled before this clone was launched");
            Launch(request, prepared, id, index, listener);
        }
        catch (AgentException e)
        {
            listener(Failed(index, id, e.Code, e.Message));
        }
        catch (Exception e)
        {
            // A fault of ours must cost one clone, not the agent with all the others.
            _warn($"launching clone {id} of {request.Snapshot}: {e}");
            listener(Failed(index, id, FarmErrorCode.Internal, e.Message));
        }
    }

    private static CloneEvent Failed(int index, string id, FarmErrorCode code, string message) =>
        new() { Index = (uint)index, Id = id, Failed = new CloneFailed { Code = FarmErrorCodes.NameOf(code), Message = message } };

    private void Launch(CloneRequest request, IPreparedSnapshot prepared, string id, int index, Action<CloneEvent> listener)
    {
        var payload = request.Payloads.Count switch
        {
            0 => null,
            1 => request.Payloads[0],
            _ => request.Payloads[index],
        };
        var orderedAt = Stopwatch.GetTimestamp();
        var process = prepared.Launch(new CloneOrder(id, payload, request.Environment, request.Wait));
        // The agent has no input for a clone: it reads end of file.
        process.Stdin?.Dispose();
        var record = new CloneRecord(id, request.Snapshot, prepared.Digest, Path.Combine(_logRoot, id), orderedAt)
        {
            Process = process,
            Index = (uint)index,
            Listener = request.Wait ? listener : null,
        };
        _clones[id] = record;
        // Before the pump sees it, so that no answer overtakes the start.
        listener(new CloneEvent { Index = (uint)index, Id = id, Started = new CloneStarted { Pid = (uint)process.HostPid, Timings = process.Timings } });
        _pump.Add(record);
        // A stop that listed the clones before this one was among them.
        if (_stopping)
            Kill(record);
    }

    private void Remember(CloneRecord ended)
    {
        _endedOrder.Enqueue(ended);
        while (_endedOrder.Count > AgentLimits.RememberedClones && _endedOrder.TryDequeue(out var oldest))
        {
            _clones.TryRemove(oldest.Id, out _);
            if (Directory.Exists(oldest.LogDirectory))
                Directory.Delete(oldest.LogDirectory, recursive: true);
        }
    }
}
