namespace Snapshots.Bench;

/// <summary>What a snapshot saves: its worker launched from nothing until it has answered once.</summary>
public interface IColdStart
{
    /// <summary>Microseconds from the launch until the first answer.</summary>
    /// <exception cref="BenchException">It did not answer.</exception>
    double Measure(CancellationToken cancellation);
}
