using System.Text;
using Snapshots.Cli.Json;
using Snapshots.Client.V1;

namespace Snapshots.Cli;

/// <summary>What became of the clones of one request, put together from its events.</summary>
public sealed class CloneOutcome
{
    private readonly CloneRow?[] _rows;
    private readonly HashSet<string> _running = [];
    private readonly CloneRequest _request;

    public CloneOutcome(CloneRequest request)
    {
        _request = request;
        _rows = new CloneRow?[request.Count];
    }

    /// <summary>In the order of the request; clones that nothing is known of yet are left out.</summary>
    public IReadOnlyList<CloneRow> Rows => [.. _rows.OfType<CloneRow>()];

    /// <summary>Started and, as far as is known, not ended.</summary>
    public IReadOnlyCollection<string> RunningIds => _running;

    /// <summary>Every clone started and, when that was waited for, ended with exit code 0.</summary>
    public bool AllWell => Array.TrueForAll(_rows, row => row is { Error: null } && (!_request.Wait || row.ExitCode == 0));

    public void Apply(CloneEvent happened)
    {
        ref var row = ref _rows[happened.Index];
        switch (happened.KindCase)
        {
            case CloneEvent.KindOneofCase.Started:
                _running.Add(happened.Id);
                row = new CloneRow((int)happened.Index, happened.Id, _request.Snapshot, happened.Started.Pid, null, Describe(happened.Started.Timings));
                break;
            case CloneEvent.KindOneofCase.Failed:
                row = new CloneRow((int)happened.Index, happened.Id, _request.Snapshot, null, new ErrorDescription(happened.Failed.Code, happened.Failed.Message), null);
                break;
            case CloneEvent.KindOneofCase.Answered when row is { Timings: { } timings }:
                row = row with { Answer = happened.Answered.Line.ToStringUtf8(), Timings = timings with { FirstAnswer = happened.Answered.Microseconds } };
                break;
            case CloneEvent.KindOneofCase.Exited when row is { Timings: { } timings }:
                _running.Remove(happened.Id);
                row = WithExit(row, timings, happened.Exited);
                break;
            default:
                throw new InvalidDataException($"the agent sent {happened.KindCase} of clone {happened.Id} before its start; it is of another version");
        }
    }

    private static CloneRow WithExit(CloneRow row, TimingsRow timings, CloneExited exited) => row with
    {
        ExitCode = exited.Signal == 0 ? exited.ExitCode : null,
        Signal = exited.Signal == 0 ? null : exited.Signal,
        Stdout = Encoding.UTF8.GetString(exited.Stdout.Span),
        Stderr = Encoding.UTF8.GetString(exited.Stderr.Span),
        Failure = exited.Failure.Length == 0 ? null : exited.Failure,
        Timings = timings with { Exit = exited.Microseconds },
    };

    private static TimingsRow Describe(CloneTimings timings) =>
        new(timings.Order, timings.Fork, timings.Sandbox, timings.Descriptors, timings.Threads, timings.Finish, timings.Running, timings.Parked);
}
