using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Pages that every clone writes are there before it runs.</summary>
[Collection(EngineFixture.Alone)]
public sealed class WorkingSetTests : IDisposable
{
    private const int WrittenKib = 256;

    /// <summary>The interpreter writes pages too; the limit is that of the engine, and a little for what a clone writes before it waits.</summary>
    private const long MostKib = ((long)RestoreOptions.DefaultPrefaultedPages * 4) + 256;

    /// <summary>Writes the same 64 pages for each request, checks that they hold what they should before and after, and waits for the next.</summary>
    private const string Worker = """
        import mmap, os
        memory = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, len(memory), 4096):
            memory[page] = page // 4096 % 251
        os.write(3, b"ready\n")
        while True:
            if not os.read(3, 65536):
                os._exit(0)
            good = all(memory[page] == page // 4096 % 251 for page in range(0, len(memory), 4096))
            for page in range(100 * 4096, 164 * 4096, 4096):
                memory[page + 1] = 1
            os.write(3, b"good\n" if good else b"bad\n")
        """;

    private readonly EngineFixture _fixture = new(parkedClones: 1);

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void What_the_first_clones_wrote_the_next_ones_have_from_birth()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        Assert.InRange(PrivateKibOfOneThatWaits(_fixture.Engine, image), 0, WrittenKib / 2);
        for (var i = 0; i < 3; i++)
            AnswerAndNote(_fixture.Engine, image);

        // The ones parked before it was known are used up first.
        AnswerAndNote(_fixture.Engine, image);
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        Assert.InRange(PrivateKibOfOneThatWaits(_fixture.Engine, image), WrittenKib, MostKib);
        AnswerAndNote(_fixture.Engine, image);
    }

    [Fact]
    public void What_was_learned_is_handed_out_and_a_later_engine_begins_with_it()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        WorkingSet? saved = null;
        TemplateSource Source(WorkingSet? known) => new(image.Name!, image.Digest.ToString(), () => _fixture.Store.OpenImage(image.Name!))
        {
            ReadWorkingSet = () => known,
            SaveWorkingSet = set => saved = set,
        };
        using (var engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, ParkedClones = 0 }))
        {
            for (var i = 0; i < 3; i++)
            {
                using var clone = engine.Launch(Source(null), new CloneRequest { Id = "clone" });
                Assert.Equal("good", EngineFixture.Answer(clone));
                clone.NoteAnswered();
            }
        }
        Assert.True(saved is { Clones: 3 } && saved.Written.Sum(range => (long)range.PageCount) >= WrittenKib / 4 && saved.FilePages.Count > 0);

        using var later = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, ParkedClones = 1 });
        using (var use = later.Use(Source(saved)))
        {
            later.WaitUntilReady(image, Cancellation);
            Assert.InRange(PrivateKibOfOneThatWaits(later, image), WrittenKib, MostKib);
        }
    }

    /// <summary>Its end is a microsecond away from its answer, so it is looked at when it ends.</summary>
    [Fact]
    public void Clones_that_end_as_soon_as_they_have_answered_teach_as_well_as_others()
    {
        using var image = _fixture.Create(Cancellation, Worker.Replace("""os.write(3, b"good\n" if good else b"bad\n")""", """(os.write(3, b"good\n" if good else b"bad\n"), os._exit(7))"""));
        for (var i = 0; i < 3; i++)
        {
            using var clone = _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", EndsWithAnswer = true });
            Assert.Equal("good", EngineFixture.Answer(clone));
            Assert.Equal(new ExitStatus(Signaled: false, 7), clone.WaitForExit());
            clone.NoteAnswered();
        }
        // The one that was parked before the last of them had ended knows nothing.
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        AnswerAndNote(_fixture.Engine, image);
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        Assert.InRange(PrivateKibOfOneThatWaits(_fixture.Engine, image), WrittenKib, MostKib);
    }

    /// <summary>A watched clone lives as any other: signals reach it, it can be stopped and killed, and its exit status is its own.</summary>
    [Fact]
    public void A_watched_clone_gets_its_signals()
    {
        const string Signalled = """
            import os, signal
            seen = []
            signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
            signal.signal(signal.SIGCONT, lambda *_: seen.append(2))
            os.write(3, b"ready\n")
            os.read(3, 65536)
            os.kill(os.getpid(), signal.SIGUSR1)
            os.write(3, b"%d\n" % sum(seen))
            os.read(3, 65536)
            os.write(3, b"%d\n" % sum(seen))
            os.kill(os.getpid(), signal.SIGKILL)
            """;
        using var image = _fixture.Create(Cancellation, Signalled);
        using var clone = _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", EndsWithAnswer = true });
        Assert.Equal("1", EngineFixture.Answer(clone));
        clone.NoteAnswered();
        EngineFixture.Ask(clone);
        // What stopped it for the look was no signal to it.
        Assert.Equal("1", EngineFixture.Answer(clone));
        Assert.Equal(new ExitStatus(Signaled: true, 9), clone.WaitForExit());
    }

    [Fact]
    public void Nothing_is_copied_ahead_when_that_is_not_wanted()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var engine = RestoreEngine.Start(new RestoreOptions { SandboxPoolSize = 1, ParkedClones = 0, PrefaultedPages = 0 });
        for (var i = 0; i < 4; i++)
            AnswerAndNote(engine, image);
        Assert.InRange(PrivateKibOfOneThatWaits(engine, image), 0, WrittenKib / 2);
    }

    /// <summary>Templates go when they are not used, and clones outlive them.</summary>
    [Fact]
    public void Clones_that_answer_when_their_template_is_gone_harm_nobody()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        var clones = Enumerable.Range(0, 3).Select(_ => _fixture.Launch(image)).ToList();
        clones.ForEach(clone => Assert.Equal("good", EngineFixture.Answer(clone)));
        _fixture.Engine.Drop(image.Digest.ToString());
        clones.ForEach(clone => clone.NoteAnswered());
        clones.ForEach(clone => clone.Dispose());
        AnswerAndNote(_fixture.Engine, image);
    }

    [Fact]
    public void A_clone_that_has_ended_teaches_nothing()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        using var clone = _fixture.Launch(image);
        clone.Kill();
        _ = clone.WaitForExit();
        clone.NoteAnswered();
    }

    private static void AnswerAndNote(RestoreEngine engine, SnapshotImage image)
    {
        using var clone = engine.Launch(image, new CloneRequest { Id = "clone" });
        Assert.Equal("good", EngineFixture.Answer(clone));
        clone.NoteAnswered();
    }

    private static long PrivateKibOfOneThatWaits(RestoreEngine engine, SnapshotImage image)
    {
        using var clone = engine.Launch(image, new CloneRequest { Id = "waiting", WithholdRequest = true });
        var memory = SmapsRollup.Read(clone.HostPid);
        clone.SendRequest("1");
        Assert.Equal("good", EngineFixture.Answer(clone));
        return (long)memory.PrivateDirtyKib; // Clean pages of files that nobody else has mapped count as private too, and are not copies.
    }
}
