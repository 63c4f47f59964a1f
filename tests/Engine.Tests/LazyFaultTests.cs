using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Clones whose memory comes page by page, and the ends of those they depend on.</summary>
[Collection(EngineFixture.Alone)]
public sealed class LazyFaultTests : IDisposable
{
    private const int SIGKILL = 9;

    /// <summary>8 MiB whose pages tell their number; each request names what to do.</summary>
    private const string Worker = """
        import json, mmap, os
        PAGES = 2048
        memory = mmap.mmap(-1, PAGES * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        def pattern(page):
            return (page * 2654435761 % 4294967296).to_bytes(4, "little") * 1024
        for page in range(PAGES):
            memory[page * 4096:(page + 1) * 4096] = pattern(page)
        def right(pages):
            return all(memory[page * 4096:(page + 1) * 4096] == pattern(page) for page in pages)
        def child(number):
            pid = os.fork()
            if pid == 0:
                if number % 10 == 0:
                    os.execv("/bin/true", ["true"])
                os._exit(0 if right(range(number, PAGES, 400)) else 1)
            return os.waitpid(pid, 0)[1] == 0
        os.write(3, b"ready\n")
        while True:
            line = os.read(3, 65536)
            if not line:
                os._exit(0)
            request = json.loads(line)
            what = request["payload"] if isinstance(request, dict) else request
            good = right(range(PAGES)) if what == "all" else right([7]) if what == "little" else all([child(number) for number in range(300)])
            os.write(3, b"good\n" if good else b"bad\n")
        """;

    private readonly EngineFixture _fixture = new(parkedClones: 0, new RestoreOptions { LazyFromBytes = 0 });

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void The_end_of_a_sandboxs_init_ends_its_lazy_clone_and_nothing_else()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        WarmUp(image);
        var before = _fixture.Held(Cancellation);
        using (_fixture.Engine.Use(TemplateSource.Of(image)))
        using (var clone = Launch(image, "little"))
        using (var other = Launch(image, "little"))
        {
            Assert.Equal("good", EngineFixture.Answer(clone));
            Assert.Equal("good", EngineFixture.Answer(other));
            using (var init = Pidfd.Open(InitOf(clone)))
                Assert.Equal(Errno.None, Pidfd.SendSignal(init, SIGKILL));
            Assert.True(Poll.IsReadable(clone.PidFd, TimeSpan.FromSeconds(1)), "it outlives its sandbox");
            Assert.Equal(new ExitStatus(Signaled: true, SIGKILL), clone.WaitForExit());
            EngineFixture.Ask(other, "\"all\"");
            Assert.Equal("good", EngineFixture.Answer(other));
        }
        using (var later = Launch(image, "all"))
            Assert.Equal("good", EngineFixture.Answer(later));
        CoolDown(image);
        Assert.Equal(before, _fixture.Held(Cancellation));
    }

    [Fact]
    public void A_lazy_template_killed_at_any_moment_hangs_nobody_and_leaves_nothing_behind()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        WarmUp(image);
        var before = _fixture.Held(Cancellation);
        var failed = 0;
        var random = new Random(1);
        for (var round = 0; round < 20; round++)
        {
            using var use = _fixture.Engine.Use(TemplateSource.Of(image));
            using var victim = Pidfd.Open(use.Template.Pid);
            var spins = random.Next(400_000);
            var killer = new Thread(() =>
            {
                Thread.SpinWait(spins);
                _ = Pidfd.SendSignal(victim, SIGKILL);
            });
            killer.Start();
            try
            {
                using var clone = Launch(image, "all");
                // What the template had and what it had not: neither needs it any more.
                Assert.Equal("good", EngineFixture.Answer(clone));
            }
            catch (Exception exception) when (exception is HuskDiedException or CloneStartException)
            {
                failed++;
            }
            killer.Join();
            Recover(image);
            CoolDown(image);
        }

        Assert.True(failed > 0, "no launch was hit; the kill comes too early or too late to test anything");
        Assert.Equal(before, _fixture.Held(Cancellation));
    }

    [Fact]
    public void A_lazy_clone_that_forks_again_and_again_does_not_fill_the_tables_of_descriptors()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var use = _fixture.Engine.Use(TemplateSource.Of(image));
        using var clone = Launch(image, "fork");
        Assert.True(clone.IsLazy);
        Assert.Equal("good", EngineFixture.Answer(clone));
        Assert.InRange(Doors("self"), 2, 30);
        Assert.InRange(Doors($"{InitOf(clone)}"), 1, 30);
    }

    private static int Doors(string process) =>
        Directory.EnumerateFileSystemEntries($"/proc/{process}/fd").Count(path => ReadLink.Read(path, out var target) == Errno.None && target.Contains("userfaultfd", StringComparison.Ordinal));

    /// <summary>Our other child in the clone's PID namespace.</summary>
    private static int InitOf(Clone clone) =>
        EngineFixture.Children().Single(pid => pid != clone.HostPid && NamespaceOf(pid) == NamespaceOf(clone.HostPid));

    private static string NamespaceOf(int pid) => ReadLink.Read($"/proc/{pid}/ns/pid", out var target) == Errno.None ? target : $"none of {pid}";

    private Clone Launch(SnapshotImage image, string what) => _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", PayloadJson = $"\"{what}\"" });

    /// <summary>The engine's own descriptors are there afterwards, and no template.</summary>
    private void WarmUp(SnapshotImage image)
    {
        Launch(image, "all").Dispose();
        CoolDown(image);
    }

    private void CoolDown(SnapshotImage image)
    {
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        _fixture.Engine.Drop(image.Digest.ToString());
    }

    private void Recover(SnapshotImage image)
    {
        try
        {
            Launch(image, "little").Dispose();
        }
        catch (HuskDiedException)
        {
            // The template outlived the launch, and this one met it dead.
            Launch(image, "little").Dispose();
        }
    }
}
