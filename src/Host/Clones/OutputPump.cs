using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Host.Clones;

/// <summary>
/// Reads what all clones write and notices their ends, on one thread however many there are. A second thread takes ended clones apart,
/// since killing what is left of a sandbox takes longer than another clone's answer should wait.
/// 1. New clones arrive through a queue; the pump watches their stdout, stderr, channel and pidfd.
/// 2. Readable streams go to the clone's logs, the channel's first line becomes its answer.
/// 3. When the pidfd reports the end, what is still in the pipes is read, and the clone goes to the reaper.
/// 4. The reaper reaps and kills the rest of the sandbox, closes the logs and tells the record.
/// </summary>
public sealed class OutputPump : IDisposable
{
    private const ulong WakeKey = 0;
    private const int SigKill = 9;
    private readonly EpollSet _epoll = new();
    private readonly EventCounter _wake = new();
    private readonly ConcurrentQueue<CloneRecord> _arrivals = new();
    private readonly BlockingCollection<(CloneRecord Record, double EndedMicroseconds)> _ended = [];
    private readonly Dictionary<ulong, Source> _sources = [];
    private readonly byte[] _buffer = new byte[64 * 1024];
    private readonly Action<CloneRecord> _forget;
    private readonly Thread _pumpThread;
    private readonly Thread _reaperThread;
    private ulong _lastKey = WakeKey;
    private volatile bool _stopping;

    /// <param name="ended">Called on the reaper's thread after a clone is gone.</param>
    public OutputPump(Action<CloneRecord> ended)
    {
        _forget = ended;
        _epoll.Add(_wake.Handle, EpollEvents.Readable, WakeKey);
        _pumpThread = new Thread(Pump) { Name = "output pump", IsBackground = true };
        _reaperThread = new Thread(Reap) { Name = "clone reaper", IsBackground = true };
        _pumpThread.Start();
        _reaperThread.Start();
    }

    /// <summary>Takes over the clone: the record's process is disposed of when it has ended.</summary>
    public void Add(CloneRecord record)
    {
        _arrivals.Enqueue(record);
        _wake.Signal();
    }

    /// <summary>Stops both threads. Clones that still run are not ended: kill them and await their ends first.</summary>
    public void Dispose()
    {
        _stopping = true;
        _wake.Signal();
        _pumpThread.Join();
        _ended.CompleteAdding();
        _reaperThread.Join();
        _epoll.Dispose();
        _wake.Dispose();
        _ended.Dispose();
    }

    private void Pump()
    {
        var events = new EpollEvent[256];
        while (!_stopping)
        {
            var count = _epoll.Wait(events);
            for (var i = 0; i < count; i++)
            {
                if (events[i].Key == WakeKey)
                    Admit();
                else if (_sources.TryGetValue(events[i].Key, out var source))
                    Handle(source);
            }
        }
    }

    private void Admit()
    {
        _wake.Clear();
        while (_arrivals.TryDequeue(out var record))
        {
            var pumped = new PumpedClone(record);
            try
            {
                Watch(pumped, SourceKind.Stdout, record.Process.Stdout);
                Watch(pumped, SourceKind.Stderr, record.Process.Stderr);
                Watch(pumped, SourceKind.Channel, record.Process.Channel);
                Watch(pumped, SourceKind.End, record.Process.PidFd);
            }
            catch (LinuxException e)
            {
                Abandon(pumped, e);
            }
        }
    }

    // A clone that cannot be watched would never be reaped: end it, and say why where its owner will look.
    private void Abandon(PumpedClone clone, LinuxException cause)
    {
        foreach (var source in clone.Sources.ToArray())
            Unwatch(source);
        clone.Record.Stderr.Append(Encoding.UTF8.GetBytes($"[the agent ended this clone because it cannot watch it: {cause.Message}]\n"));
        _ended.Add((clone.Record, clone.Record.MicrosecondsSinceOrder));
    }

    private void Watch(PumpedClone clone, SourceKind kind, SafeHandle? descriptor)
    {
        if (descriptor is null)
            return;
        if (kind != SourceKind.End)
            DescriptorRead.SetNonBlocking(descriptor, $"{kind} of clone {clone.Record.Id}");
        var source = new Source(++_lastKey, clone, kind, descriptor);
        _epoll.Add(descriptor, EpollEvents.Readable, source.Key);
        _sources.Add(source.Key, source);
        clone.Sources.Add(source);
    }

    private void Handle(Source source)
    {
        if (source.Kind == SourceKind.End)
            HandleEnd(source.Owner);
        else
            _ = ReadOnce(source);
    }

    // Returns EAGAIN when the source is empty, and something else than None when it will never give more.
    private Errno ReadOnce(Source source)
    {
        var errno = DescriptorRead.Read(source.Descriptor, _buffer, out var length);
        if (errno == Errno.EAGAIN)
            return errno;
        if (errno != Errno.None || length == 0)
        {
            Unwatch(source);
            return errno == Errno.None ? Errno.EPIPE : errno;
        }
        Deliver(source, _buffer.AsSpan(0, length));
        return Errno.None;
    }

    private static void Deliver(Source source, ReadOnlySpan<byte> bytes)
    {
        var record = source.Owner.Record;
        switch (source.Kind)
        {
            case SourceKind.Stdout:
                record.Stdout.Append(bytes);
                break;
            case SourceKind.Stderr:
                record.Stderr.Append(bytes);
                break;
            default:
                source.Owner.AppendToAnswer(bytes);
                break;
        }
    }

    private void HandleEnd(PumpedClone clone)
    {
        var endedMicroseconds = clone.Record.MicrosecondsSinceOrder;
        foreach (var source in clone.Sources.ToArray())
        {
            if (source.Kind == SourceKind.End)
                Unwatch(source);
            else
                Drain(source);
        }
        _ended.Add((clone.Record, endedMicroseconds));
    }

    // A grandchild may still hold the pipe open and write for ever: bounded by what a pipe or socket can hold at once.
    private void Drain(Source source)
    {
        const int MostReads = 64;
        var errno = Errno.None;
        for (var i = 0; i < MostReads && errno == Errno.None; i++)
            errno = ReadOnce(source);
        if (errno is Errno.None or Errno.EAGAIN)
            Unwatch(source);
    }

    private void Unwatch(Source source)
    {
        _epoll.Remove(source.Descriptor, $"{source.Kind} of clone {source.Owner.Record.Id}");
        _sources.Remove(source.Key);
        source.Owner.Sources.Remove(source);
    }

    private void Reap()
    {
        foreach (var (record, endedMicroseconds) in _ended.GetConsumingEnumerable())
        {
            // The status is there when the pidfd was readable; a clone that could not be watched dies by the disposal.
            var exit = record.Process.TryGetExit() ?? new ExitStatus(Signaled: true, SigKill);
            record.Dispose();
            record.SetEnded(exit, endedMicroseconds);
            _forget(record);
        }
    }

    private enum SourceKind
    {
        Stdout,
        Stderr,
        Channel,
        End,
    }

    private sealed record Source(ulong Key, PumpedClone Owner, SourceKind Kind, SafeHandle Descriptor);

    private sealed class PumpedClone(CloneRecord record)
    {
        private MemoryStream? _line = new();

        public CloneRecord Record { get; } = record;

        public List<Source> Sources { get; } = [];

        // Only the first line is the answer; what follows is read so that the clone does not block, and dropped.
        public void AppendToAnswer(ReadOnlySpan<byte> bytes)
        {
            if (_line is null)
                return;
            var end = bytes.IndexOf((byte)'\n');
            var part = end < 0 ? bytes : bytes[..end];
            _line.Write(part[..(int)Math.Min(part.Length, AgentLimits.AnswerCapBytes - _line.Length)]);
            if (end < 0)
                return;
            Record.SetAnswer(_line.ToArray());
            _line = null;
        }
    }
}
