using System.Collections.Concurrent;

namespace Snapshots.Host.Clones;

/// <summary>
/// The threads that launch clones, one per processor: a launch is a conversation with the template that blocks its thread, and more of
/// them at once only wait for each other.
/// </summary>
public sealed class LaunchQueue : IDisposable
{
    private readonly BlockingCollection<Action> _orders = [];
    private readonly Thread[] _threads;

    public LaunchQueue(int threadCount)
    {
        _threads = new Thread[threadCount];
        for (var i = 0; i < threadCount; i++)
        {
            _threads[i] = new Thread(Run) { Name = $"launcher {i}", IsBackground = true };
            _threads[i].Start();
        }
    }

    /// <param name="order">Must not throw.</param>
    /// <exception cref="InvalidOperationException">The agent is stopping.</exception>
    public void Enqueue(Action order) => _orders.Add(order);

    /// <summary>Finishes the orders that were accepted, then ends the threads.</summary>
    public void Dispose()
    {
        _orders.CompleteAdding();
        foreach (var thread in _threads)
            thread.Join();
        _orders.Dispose();
    }

    private void Run()
    {
        foreach (var order in _orders.GetConsumingEnumerable())
            order();
    }
}
