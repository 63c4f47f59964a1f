using System.Collections.Concurrent;
using Snapshots.Linux.Syscalls;

namespace Snapshots.RestorePool.Paging;

/// <summary>
/// Serves the page faults of all address spaces that are filled on demand. A few threads wait side by side; whichever hears of a message reads it,
/// lets the others hear of the next, and serves it: a page that takes long holds up nobody but those who need it.
/// </summary>
/// <remarks>
/// Thread-safe. Spaces are owned by who registers them. A fault that cannot be served ends the clone that has it; an error of the server itself ends
/// every clone that depends on it. <see cref="Dispose"/> ends them as well: nobody would fill their memory any more.
/// </remarks>
internal sealed class PageServer : IDisposable
{
    private const int ThreadCount = 4;
    private const ulong StopKey = 0;
    private readonly EpollSet _events = new();
    private readonly EventCounter _stop = new();
    private readonly ConcurrentDictionary<ulong, LazySpace> _spaces = new();
    private readonly List<Thread> _threads = [];
    private ulong _lastKey;
    private volatile bool _stopping;
    private volatile Exception? _failure;

    public PageServer()
    {
        _events.Add(_stop.Handle, EpollEvents.Readable, StopKey);
        for (var i = 0; i < ThreadCount; i++)
        {
            var thread = new Thread(Run) { Name = "page server", IsBackground = true };
            _threads.Add(thread);
            thread.Start();
        }
    }

    /// <summary>Begins to serve a space.</summary>
    /// <exception cref="InvalidOperationException">The server has failed.</exception>
    public void Watch(LazySpace space)
    {
        if (_failure is { } failure)
            throw new InvalidOperationException($"the page server has failed: {failure.Message}", failure);
        space.Key = Interlocked.Increment(ref _lastKey);
        _spaces[space.Key] = space;
        _events.Add(space.Door.Handle, EpollEvents.Readable | EpollEvents.OneShot, space.Key);
    }

    /// <summary>Serves a space no more, and closes it.</summary>
    public void Forget(LazySpace space)
    {
        // Copies of the door in other processes would keep a closed one in the set.
        if (_spaces.TryRemove(space.Key, out _))
            _events.Remove(space.Door.Handle, "address space that is filled on demand");
        space.Dispose();
    }

    public void Dispose()
    {
        _stopping = true;
        EndDependents("the engine that fills its memory has ended");
        _stop.Signal();
        _threads.ForEach(thread => thread.Join());
        // Their owners close them, when the processes have ended.
        _spaces.Clear();
        _events.Dispose();
        _stop.Dispose();
    }

    private void EndDependents(string reason)
    {
        foreach (var space in _spaces.Values)
            space.Owner?.Fail(reason);
    }

    private void Run()
    {
        var buffer = GC.AllocateUninitializedArray<byte>((int)LazySpace.LargestWindowBytes);
        Span<EpollEvent> ready = stackalloc EpollEvent[1];
        try
        {
            while (!_stopping)
            {
                if (_events.Wait(ready) == 1 && _spaces.TryGetValue(ready[0].Key, out var space))
                    Step(space, buffer);
            }
        }
        catch (Exception fault)
        {
            // A thread that is gone serves nobody, and whoever waits for it would wait for ever.
            _failure = fault;
            EndDependents($"the page server failed: {fault.Message}");
        }
    }

    private void Step(LazySpace space, byte[] buffer)
    {
        try
        {
            space.TryRead(out var fault);
            Rearm(space);
            if (fault is { } page)
                space.Serve(page, buffer);
        }
        catch (ObjectDisposedException)
        {
            // Forgotten meanwhile: nobody has it any more.
        }
        catch (Exception cause)
        {
            space.Owner?.Fail($"a page of its memory could not be delivered: {cause.Message}");
        }
    }

    private void Rearm(LazySpace space)
    {
        try
        {
            _events.Rearm(space.Door.Handle, EpollEvents.Readable | EpollEvents.OneShot, space.Key);
        }
        catch (Exception gone) when (gone is ObjectDisposedException or Linux.LinuxException { Errno: Linux.Errno.ENOENT or Linux.Errno.EBADF })
        {
            // Forgotten meanwhile.
        }
    }
}
