using System.Runtime.ExceptionServices;
using Snapshots.RestorePool.Paging;
using Snapshots.RestorePool.WorkingSets;

namespace Snapshots.RestorePool.Templates;

/// <summary>
/// Completes snapshots that started lazy: behind each lazy template it has a complete one built, in huge pages and at full speed, which takes its
/// place (docs/lazy-restore.md says why the lazy one is not filled itself). It waits with that until the first clone has answered or stands still,
/// because the answer is what somebody waits for, and both want the same disk, link and processors.
/// </summary>
/// <param name="complete">Builds the complete template and puts it in place; the use of the image is its own.</param>
/// <param name="failed">Told why one could not be completed.</param>
/// <remarks>Thread-safe.</remarks>
internal sealed class TemplateFiller(Action<Resident, ImageLease, KnownWorkingSet> complete, Action<TemplateSource, Exception>? failed) : IDisposable
{
    /// <summary>No fault for so long: the first clones have what they need, or wait for something else.</summary>
    private static readonly TimeSpan s_quiet = TimeSpan.FromMilliseconds(100);

    /// <summary>Clones that go on and on touching new pages are served sooner by the complete template.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>A template that was made ready for nobody yet.</summary>
    private static readonly TimeSpan s_unused = TimeSpan.FromMilliseconds(500);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, Task> _fills = new(StringComparer.Ordinal);
    private readonly HashSet<string> _failed = new(StringComparer.Ordinal);

    /// <summary>Whether a snapshot could not be completed the last time: it is to be built whole, so that whoever asks learns why.</summary>
    public bool HasFailed(string digest)
    {
        lock (_gate)
            return _failed.Contains(digest);
    }

    /// <param name="image">A use of its own, which becomes the complete template's.</param>
    public void Begin(Resident resident, LazyMemory memory, ImageLease image, KnownWorkingSet known)
    {
        lock (_gate)
        {
            var task = Task.Factory.StartNew(() => Fill(resident, memory, image, known), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            _fills[resident.Source.Digest] = task;
        }
    }

    /// <summary>Waits for the end of a fill; returns at once when none is under way.</summary>
    /// <exception cref="Exception">Why it failed.</exception>
    public void WaitUntilFilled(string digest, CancellationToken cancellation)
    {
        Task? fill;
        lock (_gate)
            fill = _fills.GetValueOrDefault(digest);
        try
        {
            fill?.Wait(cancellation);
        }
        catch (AggregateException several) when (several.InnerException is { } cause)
        {
            ExceptionDispatchInfo.Throw(cause);
        }
    }

    /// <summary>Waits until no fill is under way; their places have been given up.</summary>
    public void Dispose()
    {
        Task[] left;
        lock (_gate)
            left = [.. _fills.Values];
        // A fill that failed has told.
        Task.WhenAll(left).ContinueWith(static _ => { }, TaskScheduler.Default).Wait();
    }

    private void Fill(Resident resident, LazyMemory memory, ImageLease image, KnownWorkingSet known)
    {
        var digest = resident.Source.Digest;
        try
        {
            if (AwaitQuiet(memory, resident.GivenUp.Token))
                complete(resident, image, known);
            else
                image.Dispose();
            lock (_gate)
                _failed.Remove(digest);
        }
        catch (Exception cause)
        {
            lock (_gate)
                _failed.Add(digest);
            failed?.Invoke(resident.Source, cause);
            throw;
        }
        finally
        {
            lock (_gate)
            {
                if (_fills.GetValueOrDefault(digest)?.Id == Task.CurrentId)
                    _fills.Remove(digest);
            }
        }
    }

    /// <summary>False when the place was given up meanwhile.</summary>
    private static bool AwaitQuiet(LazyMemory memory, CancellationToken givenUp)
    {
        try
        {
            var seen = -1L;
            for (var waited = TimeSpan.Zero; waited < Patience(memory); waited += s_quiet)
            {
                if (seen == memory.FaultsBegun && memory is { HasClones: true, IsBusy: false })
                    break;
                seen = memory.FaultsBegun;
                if (memory.Answered.Wait(s_quiet, givenUp))
                    break;
            }
            return !givenUp.IsCancellationRequested;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private static TimeSpan Patience(LazyMemory memory) => memory.HasClones ? s_patience : s_unused;
}
