using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Snapshotter.Launching;

/// <summary>
/// Reads what a worker writes, so that it never blocks on a full pipe, and keeps the last part for error messages. Thread-safe.
/// </summary>
public sealed class WorkerOutput : IDisposable
{
    private const int MaxLines = 200;
    private const int TailLines = 20;
    private readonly Lock _gate = new();
    private readonly Queue<string> _lines = new();
    private readonly StreamReader _reader;
    private readonly Thread _thread;
    private Action<string>? _observer;

    /// <param name="pipe">Becomes the object's.</param>
    /// <param name="name">Of the stream, for the thread that reads it.</param>
    public WorkerOutput(SafeFileHandle pipe, string name)
    {
        _reader = new StreamReader(new FileStream(pipe, FileAccess.Read, bufferSize: 0), Encoding.UTF8);
        _thread = new Thread(Pump) { Name = $"worker {name}", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Calls <paramref name="observer"/> for every line that is kept so far and for each that follows, in order.</summary>
    public void Observe(Action<string> observer)
    {
        lock (_gate)
        {
            foreach (var line in _lines)
                observer(line);
            _observer = observer;
        }
    }

    /// <summary>The last lines.</summary>
    public string Tail()
    {
        lock (_gate)
            return string.Join(Environment.NewLine, _lines.TakeLast(TailLines));
    }

    /// <summary>Waits until the pipe's last writer is gone; the owner has killed the worker before.</summary>
    public void Dispose()
    {
        _thread.Join();
        _reader.Dispose();
    }

    private void Pump()
    {
        while (_reader.ReadLine() is { } line)
        {
            lock (_gate)
            {
                _lines.Enqueue(line);
                if (_lines.Count > MaxLines)
                    _lines.Dequeue();
                _observer?.Invoke(line);
            }
        }
    }
}
