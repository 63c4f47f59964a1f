using System.Text.Json;
using Snapshots.Images;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;

namespace Snapshots.Bench;

/// <summary>
/// Shows what cloning is for, with the Python worker of examples/python:
/// 1. All clones are launched side by side, each waiting for its request; memory is read while all of them live.
/// 2. Each gets its own request, and its answer is checked against what the table must hold for that key.
/// 3. Then clones are started, asked and ended one by one, for the latencies of the table.
/// </summary>
public sealed class DemoRun(RestoreEngine engine, SnapshotImage image, int count, Action<string> tell)
{
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(60);
    private readonly ChannelProbe _probe = new(AnswerTimeout);

    /// <param name="coldStartMicroseconds">Cold start until the first answer, measured by the caller.</param>
    /// <exception cref="BenchException">A clone did not answer, or answered wrongly.</exception>
    public DemoReport Run(double coldStartMicroseconds, CancellationToken cancellation)
    {
        tell("building the template");
        engine.Prepare(image);
        var driver = new CloneDriver(engine, image, _probe);
        CheckAnswer(Key(0), driver.Run(Payload(Key(0))).Answer!);
        tell($"launching {count} clones side by side");
        var (memory, checkedAnswers) = SideBySide(cancellation);
        tell($"launching {count} clones one after the other");
        var phases = new PhaseRecorders();
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            engine.WaitUntilReady(image, cancellation);
            var sample = driver.Run(Payload(Key(i)));
            CheckAnswer(Key(i), sample.Answer!);
            phases.Add(sample);
        }
        tell("launching clones on two threads");
        var rate = SustainedRate.Measure(driver, Payload(1), threads: 2, TimeSpan.FromSeconds(3), cancellation);
        return Report(coldStartMicroseconds, memory, checkedAnswers + count, phases, rate);
    }

    private (IdleMemory Memory, int Checked) SideBySide(CancellationToken cancellation)
    {
        var clones = new List<Clone>(count);
        try
        {
            for (var i = 0; i < count; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                clones.Add(engine.Launch(image, new CloneRequest { Id = CloneDriver.NextId(), WithholdRequest = true }));
            }
            var memory = IdleMemory.Of(clones, cancellation);
            for (var i = 0; i < count; i++)
                clones[i].SendRequest(Payload(Key(i)));
            for (var i = 0; i < count; i++)
                CheckAnswer(Key(i), _probe.Await(clones[i].Channel, clones[i].OpenNetworkNamespace));
            return (memory, count);
        }
        finally
        {
            clones.ForEach(clone => clone.Dispose());
        }
    }

    private DemoReport Report(double coldStartMicroseconds, IdleMemory memory, int checkedAnswers, PhaseRecorders phases, double rate)
    {
        var answered = phases.FirstAnswer.Required();
        const double MicrosecondsPerHour = 3_600_000_000;
        return new DemoReport(
            count,
            checkedAnswers,
            Math.Round(coldStartMicroseconds, 1),
            image.Manifest.Statistics.StoppedMicroseconds,
            image.Manifest.Pages.LengthBytes,
            phases.Running.Required(),
            answered,
            rate,
            memory.PrivateKib,
            memory.PssKib,
            Math.Round(1_000_000 * (coldStartMicroseconds - answered.Median) / MicrosecondsPerHour, 1));
    }

    // Different for every clone, and spread over the table.
    private static long Key(int index) => 7 + (index * 997L);

    private static string Payload(long key) => $"{{\"key\":{key}}}";

    /// <summary>The worker's table holds, for each key, (key * 2654435761 + 12345) mod 2^32.</summary>
    private static void CheckAnswer(long key, string answer)
    {
        using var document = JsonDocument.Parse(answer);
        var given = document.RootElement;
        var entries = given.GetProperty("entries").GetInt64();
        var expected = ((key % entries * 2654435761) + 12345) % 4294967296;
        if (given.GetProperty("key").GetInt64() != key || given.GetProperty("value").GetInt64() != expected)
            throw new BenchException($"the clone that was asked for key {key} should say {expected}, but answered {answer}");
    }
}
