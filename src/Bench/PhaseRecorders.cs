using Snapshots.RestorePool.Clones;

namespace Snapshots.Bench;

/// <summary>Latencies of clones, phase by phase.</summary>
internal sealed class PhaseRecorders
{
    private readonly LatencyRecorder _order = new();
    private readonly LatencyRecorder _fork = new();
    private readonly LatencyRecorder _sandbox = new();
    private readonly LatencyRecorder _descriptors = new();
    private readonly LatencyRecorder _threads = new();
    private readonly LatencyRecorder _finish = new();

    private int _parked;

    public LatencyRecorder Running { get; } = new();

    public LatencyRecorder FirstAnswer { get; } = new();

    public void Add(CloneSample sample)
    {
        Add(sample.Timings);
        if (sample.FirstAnswerMicroseconds is { } answered)
            FirstAnswer.Add(answered);
    }

    /// <summary>Which share of the clones was parked, from 0 to 1.</summary>
    public double ParkedShare => Running.Count == 0 ? 0 : Math.Round((double)_parked / Running.Count, 3);

    public BenchPhases Summarise() => new(
        _order.Required(), _fork.Required(), _sandbox.Required(), _descriptors.Required(), _threads.Required(), _finish.Required());

    private void Add(CloneTimings timings)
    {
        _order.Add(timings.Order);
        _fork.Add(timings.Fork);
        _sandbox.Add(timings.Sandbox);
        _descriptors.Add(timings.Descriptors);
        _threads.Add(timings.Threads);
        _finish.Add(timings.Finish);
        Running.Add(timings.Running);
        _parked += timings.WasParked ? 1 : 0;
    }
}
