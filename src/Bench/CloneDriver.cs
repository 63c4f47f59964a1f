using System.Globalization;
using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;

namespace Snapshots.Bench;

/// <param name="FirstAnswerMicroseconds">From the request until the answer was read; null without a probe.</param>
public sealed record CloneSample(CloneTimings Timings, double? FirstAnswerMicroseconds, string? Answer);

/// <summary>Runs single clones through their whole life: start, answer, end. Thread-safe.</summary>
public sealed class CloneDriver(RestoreEngine engine, TemplateSource source, IAnswerProbe? probe)
{
    // A worker that has answered and means to exit does so within this; one that serves on is ended by us.
    private static readonly TimeSpan ExitPatience = TimeSpan.FromMilliseconds(500);
    private static long _lastId;
    private volatile bool _servesOn;

    public CloneDriver(RestoreEngine engine, SnapshotImage image, IAnswerProbe? probe)
        : this(engine, TemplateSource.Of(image), probe)
    {
    }

    /// <param name="forkOnDemand">Leave parked clones alone.</param>
    public CloneSample Run(string? payloadJson, bool forkOnDemand = false)
    {
        using var clone = engine.Launch(source, new CloneRequest { Id = NextId(), PayloadJson = payloadJson, ForkOnDemand = forkOnDemand });
        if (probe is null)
            return new CloneSample(clone.Timings, null, null);
        try
        {
            var answer = probe.Await(clone.Channel, clone.OpenNetworkNamespace);
            var microseconds = (MonotonicClock.NowNanoseconds() - clone.RequestedNanoseconds) / 1000.0;
            clone.NoteAnswered();
            AwaitEnd(clone);
            return new CloneSample(clone.Timings, microseconds, answer);
        }
        catch (BenchException e)
        {
            throw new BenchException($"clone {clone.Id} (pid {clone.HostPid}): {e.Message}{Ending(clone)}", e);
        }
    }

    public static string NextId() => string.Create(CultureInfo.InvariantCulture, $"bench{Interlocked.Increment(ref _lastId)}");

    private void AwaitEnd(Clone clone)
    {
        if (!_servesOn && !Poll.IsReadable(clone.PidFd, ExitPatience))
            _servesOn = true;
        clone.Kill();
        _ = clone.WaitForExit();
    }

    private static string Ending(Clone clone)
    {
        var said = clone.Stderr is { } stderr ? Tail(stderr) : string.Empty;
        var ended = clone.TryGetExit() is { } exit ? $"; it ended: {exit}" : string.Empty;
        return said.Length == 0 ? ended : $"{ended}; it said: {said}";
    }

    private static string Tail(Microsoft.Win32.SafeHandles.SafeFileHandle stderr)
    {
        DescriptorRead.SetNonBlocking(stderr, "stderr of a clone");
        var buffer = new byte[4096];
        return DescriptorRead.Read(stderr, buffer, out var length) == Errno.None
            ? System.Text.Encoding.UTF8.GetString(buffer, 0, length).Trim()
            : string.Empty;
    }
}
