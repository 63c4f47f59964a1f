using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Clones that run before their memory is there.</summary>
[Collection(EngineFixture.Alone)]
public sealed class LazyTests : IDisposable
{
    /// <summary>32 MiB whose pages tell their number. Each request names what to do; the answer tells the first page that is wrong, if any.</summary>
    private const string Worker = """
        import ctypes, json, mmap, os, sys
        libc = ctypes.CDLL(None, use_errno=True)
        PAGES = 8192
        memory = mmap.mmap(-1, PAGES * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        def pattern(page):
            return (page * 2654435761 % 4294967296).to_bytes(4, "little") * 1024
        for page in range(PAGES):
            memory[page * 4096:(page + 1) * 4096] = pattern(page)
        def wrong(pages, zeros=()):
            for page in pages:
                if memory[page * 4096:(page + 1) * 4096] != (bytes(4096) if page in zeros else pattern(page)):
                    return page
            return None
        def child():
            pid = os.fork()
            if pid == 0:
                os._exit(0 if wrong(range(0, PAGES, 7)) is None else 1)
            return os.waitpid(pid, 0)[1]
        os.write(3, b"ready\n")
        while True:
            line = os.read(3, 65536)
            if not line:
                os._exit(0)
            request = json.loads(line)
            what = request["payload"] if isinstance(request, dict) else request
            if what == "all":
                bad = wrong(range(PAGES))
            elif what == "some":
                bad = wrong(range(1000, 1100))
            elif what == "drop":
                memory.madvise(mmap.MADV_DONTNEED, 2000 * 4096, 500 * 4096)
                bad = wrong(range(PAGES), range(2000, 2500))
            elif what == "fork":
                bad = sum(child() for _ in range(40)) or None
            else:
                bad = None
            os.write(3, b"good\n" if bad is None else b"bad %d\n" % bad)
        """;

    private readonly EngineFixture _fixture = new(parkedClones: 1, new RestoreOptions { LazyFromBytes = 0 });

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void The_first_clone_does_not_wait_for_its_memory_and_later_ones_find_all_of_it()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using (var first = Launch(image, "all"))
        {
            Assert.True(first.IsLazy);
            Assert.Equal("good", EngineFixture.Answer(first));
            _fixture.Engine.WaitUntilReady(image, Cancellation);
            Assert.False(Assert.Single(_fixture.Engine.ListTemplates()).IsFilling);
            // Its template is gone, and with it nothing that it needs.
            EngineFixture.Ask(first, "\"all\"");
            Assert.Equal("good", EngineFixture.Answer(first));
        }
        using var later = Launch(image, "all");
        Assert.False(later.IsLazy);
        Assert.Equal("good", EngineFixture.Answer(later));
    }

    [Fact]
    public void A_clone_asks_for_what_it_needs_and_no_more()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var use = _fixture.Engine.Use(TemplateSource.Of(image));
        using var clone = Launch(image, "some");
        Assert.Equal("good", EngineFixture.Answer(clone));
        var memory = clone.ReadMemory()!.Value;
        Assert.InRange(memory.PrivateDirtyKib + memory.SharedDirtyKib, 0UL, 12UL << 10);
    }

    /// <summary>The kernel reads them for others, and does not wait for pages then.</summary>
    [Fact]
    public void Its_arguments_and_environment_are_there_before_it_touches_them()
    {
        const string deepStack = """
            import os
            eval("[" * 90 + "]" * 90) # the parser goes deep
            os.write(3, b"ready\n")
            os.read(3, 65536)
            os.write(3, b"good\n")
            os.read(3, 65536)
            """;
        using var image = _fixture.Create(Cancellation, deepStack);
        using var clone = _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", WithholdRequest = true });
        Assert.True(clone.IsLazy);
        Assert.Contains("python3\0-c\0", File.ReadAllText($"/proc/{clone.HostPid}/cmdline"), StringComparison.Ordinal);
        Assert.Contains("PATH=", File.ReadAllText($"/proc/{clone.HostPid}/environ"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("drop")]
    [InlineData("fork")]
    public void Missing_pages_follow_what_the_program_does_with_its_memory(string what)
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var clone = Launch(image, what);
        Assert.True(clone.IsLazy);
        Assert.Equal("good", EngineFixture.Answer(clone));
    }

    [Fact]
    public void Many_lazy_clones_at_once_have_the_same_memory()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var use = _fixture.Engine.Use(TemplateSource.Of(image));
        var clones = Enumerable.Range(0, 8).Select(i => Launch(image, i % 2 == 0 ? "all" : "drop")).ToList();
        clones.ForEach(clone => Assert.Equal("good", EngineFixture.Answer(clone)));
        clones.ForEach(clone => clone.Dispose());
    }

    /// <summary>Forks follow each other closely: whose a new address space is must not be mixed up.</summary>
    [Fact]
    public void Lazy_clones_that_are_launched_side_by_side_live_and_die_each_for_itself()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var use = _fixture.Engine.Use(TemplateSource.Of(image));
        var clones = new Clone[16];
        Parallel.For(0, clones.Length, new ParallelOptions { MaxDegreeOfParallelism = clones.Length }, i => clones[i] = Launch(image, "some"));
        Assert.Contains(clones, clone => clone.IsLazy);
        foreach (var clone in clones)
        {
            Assert.Equal("good", EngineFixture.Answer(clone));
            EngineFixture.Ask(clone, "\"all\"");
            Assert.Equal("good", EngineFixture.Answer(clone));
            clone.Dispose();
        }
    }

    [Fact]
    public void What_the_first_clone_needed_is_there_for_the_first_one_of_the_next_engine()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        WorkingSet? saved = null;
        TemplateSource Source(WorkingSet? known) => new(image.Name!, image.Digest.ToString(), () => _fixture.Store.OpenImage(image.Name!))
        {
            ReadWorkingSet = () => known,
            SaveWorkingSet = set => saved = set,
        };
        Run(Source(null));
        Assert.NotNull(saved);
        Assert.InRange(saved.Read.Sum(range => (long)range.PageCount), 100, 4096);
        Assert.Equal(0U, saved.Clones);

        var known = saved;
        saved = null;
        Run(Source(known));
        Assert.Null(saved); // Nothing worth keeping was missing.

        static void Run(TemplateSource source)
        {
            using var engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, ParkedClones = 0, LazyFromBytes = 0 });
            using var clone = engine.Launch(source, new CloneRequest { Id = "clone", PayloadJson = "\"some\"" });
            Assert.Equal("good", EngineFixture.Answer(clone));
            clone.NoteAnswered();
        }
    }

    [Fact]
    public void A_page_that_cannot_be_verified_ends_the_clone_that_needs_it_and_says_why()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var use = _fixture.Engine.Use(TemplateSource.Of(image));
        using var clone = Launch(image, "some");
        Assert.Equal("good", EngineFixture.Answer(clone));
        Damage();
        EngineFixture.Ask(clone, "\"all\"");
        Assert.True(Poll.IsReadable(clone.PidFd, TimeSpan.FromSeconds(1)), "it waits for a page that will never come");
        Assert.Equal(new ExitStatus(Signaled: true, 9), clone.WaitForExit());
        Assert.Contains("checksum", clone.Failure, StringComparison.Ordinal);
        use.Dispose();

        // The complete template cannot be built either; from then on nobody is started who would end so.
        var refused = Assert.Throws<ImageException>((Action)(() =>
        {
            while (!Cancellation.IsCancellationRequested)
            {
                Launch(image, "some").Dispose();
            }
        }));
        Assert.Equal(ImageFailure.DigestMismatch, refused.Failure);
    }

    [Fact]
    public void The_end_of_the_engine_ends_clones_whose_memory_it_fills()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        var engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, ParkedClones = 0, LazyFromBytes = 0 });
        using var clone = engine.Launch(image, new CloneRequest { Id = "clone", PayloadJson = "\"some\"" });
        Assert.Equal("good", EngineFixture.Answer(clone));
        engine.Dispose();
        Assert.True(Poll.IsReadable(clone.PidFd, TimeSpan.FromSeconds(1)));
        Assert.Contains("engine", clone.Failure, StringComparison.Ordinal);
    }

    [Fact]
    public void Nothing_is_left_of_lazy_clones_and_of_what_they_forked()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using (Launch(image, "nothing"))
        {
            // The page server's own descriptors are there from now on.
        }
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        _fixture.Engine.Drop(image.Digest.ToString());
        var before = _fixture.Held(Cancellation);
        using (var use = _fixture.Engine.Use(TemplateSource.Of(image)))
        using (var clone = Launch(image, "fork"))
        {
            Assert.Equal("good", EngineFixture.Answer(clone));
            Assert.InRange(Doors(), 2, 30);
        }
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        _fixture.Engine.Drop(image.Digest.ToString());
        Assert.Equal(before, _fixture.Held(Cancellation));
    }

    private static int Doors() =>
        Directory.EnumerateFileSystemEntries("/proc/self/fd").Count(path => ReadLink.Read(path, out var target) == Errno.None && target.Contains("userfaultfd", StringComparison.Ordinal));

    private Clone Launch(SnapshotImage image, string what) => _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", PayloadJson = $"\"{what}\"" });

    /// <summary>Flips a bit in each frame of the store.</summary>
    private void Damage()
    {
        foreach (var pack in Directory.EnumerateFiles(Path.Combine(_fixture.Store.Root, "domains"), "*", SearchOption.AllDirectories).Where(path => path.Contains("/packs/", StringComparison.Ordinal)))
        {
            using var file = File.Open(pack, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            var bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            for (var at = 4096; at < bytes.Length * 9 / 10; at += 512)
                bytes[at] ^= 1;
            file.Position = 0;
            file.Write(bytes);
        }
    }
}
