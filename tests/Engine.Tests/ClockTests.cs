using System.Globalization;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>CLOCK_MONOTONIC and CLOCK_BOOTTIME of clones, by a worker that tells both and how long its thread's wait took that was under way at the freeze.</summary>
[Collection(EngineFixture.Alone)]
public sealed class ClockTests : IDisposable
{
    private const double WaitSeconds = 1.0;
    private const string IdleWorker = """
        import os, threading, time
        waited = [0]
        waiting = threading.Thread(target=lambda: None)
        waiting.start()

        """ + Answers;

    private const string WaitingWorker = """
        import os, threading, time
        waited = []
        def wait():
            begin = time.monotonic()
            threading.Event().wait(1.0)
            waited.append(time.monotonic() - begin)
        waiting = threading.Thread(target=wait)
        waiting.start()

        """ + Answers;

    private const string Answers = """
        os.write(3, b"ready\n")
        while True:
            if not os.read(3, 65536):
                os._exit(0)
            clocks = time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME)
            waiting.join()
            os.write(3, b"%f %f %f\n" % (*clocks, waited[0]))
        """;

    private readonly EngineFixture _fixture = new(parkedClones: 1);

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Clocks_go_on_where_they_stood_and_no_wait_is_overdue()
    {
        using var image = _fixture.Create(Cancellation, WaitingWorker);
        var frozen = image.Manifest.Clocks.MonotonicNs / 1e9;
        // The wait would be over by now if the time in which the image lay in the store counted.
        Assert.False(SpinWait.SpinUntil(() => false, TimeSpan.FromSeconds(WaitSeconds)));
        foreach (var onDemand in new[] { false, true })
        {
            _fixture.Engine.WaitUntilReady(image, Cancellation);
            var begin = MonotonicClock.NowNanoseconds();
            using var clone = _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", ForkOnDemand = onDemand });
            var (monotonic, _, waited) = Told(clone);
            Assert.Equal(!onDemand, clone.Timings.WasParked);
            Assert.InRange(monotonic, frozen, frozen + (WaitSeconds / 2));
            Assert.InRange(waited, WaitSeconds, WaitSeconds * 1.5);
            Assert.InRange((MonotonicClock.NowNanoseconds() - begin) / 1e9, WaitSeconds / 2, WaitSeconds * 2);
            Assert.InRange(clone.Timings.Running, 1, 1e6); // Phase times are ours, whatever the clone's clock says.
        }
    }

    /// <summary>As on a host that was started later, or long before.</summary>
    [Theory]
    [InlineData(5, 7)]
    [InlineData(90_000_000, 90_000_001)]
    public void Clocks_of_another_boot_neither_run_backwards_nor_jump(long monotonicSeconds, long boottimeSeconds)
    {
        using var image = _fixture.Create(Cancellation, IdleWorker);
        image.Manifest.Clocks.MonotonicNs = monotonicSeconds * 1_000_000_000;
        image.Manifest.Clocks.BoottimeNs = boottimeSeconds * 1_000_000_000;
        using var clone = _fixture.Launch(image);
        Ask(clone, monotonicSeconds, boottimeSeconds);

        // What is frozen from that clone goes on from there, not from the host's clock.
        using var again = _fixture.CreateFrom(clone, "again", Cancellation);
        using var grandchild = _fixture.Launch(again);
        Ask(grandchild, monotonicSeconds, boottimeSeconds);
    }

    [Fact]
    public void Host_clocks_are_left_to_clones_when_that_is_asked_for()
    {
        using var image = _fixture.Create(Cancellation, IdleWorker);
        image.Manifest.Clocks.MonotonicNs = 5_000_000_000;
        using var engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, HostClocks = true });
        using var clone = engine.Launch(image, new CloneRequest { Id = "clone" });
        Assert.Equal(MonotonicClock.NowNanoseconds() / 1e9, Told(clone).Monotonic, tolerance: 5);
    }

    private static void Ask(Clone clone, long monotonicSeconds, long boottimeSeconds)
    {
        var (monotonic, boottime, _) = Told(clone);
        Assert.InRange(monotonic, monotonicSeconds, monotonicSeconds + 10);
        Assert.InRange(boottime, boottimeSeconds, boottimeSeconds + 10);
    }

    private static (double Monotonic, double Boottime, double Waited) Told(Clone clone)
    {
        var words = EngineFixture.Answer(clone).Split(' ').Select(word => double.Parse(word, CultureInfo.InvariantCulture)).ToArray();
        return (words[0], words[1], words[2]);
    }
}
