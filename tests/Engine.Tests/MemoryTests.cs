using Snapshots.Images;
using Snapshots.Linux.Proc;
using Snapshots.RestorePool.Clones;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>docs/memory.md: what the numbers count, read from running clones.</summary>
[Collection(EngineFixture.Alone)]
public sealed class MemoryTests : IDisposable
{
    private const int TableMebibytes = 16;
    private const int WrittenMebibytes = 8;
    private const int Parked = 2;

    /// <summary>What processes of this size may gain or lose meanwhile: libraries that other processes of the machine map too, a stack, a heap.</summary>
    private const long SlackKib = 3 * 1024;

    /// <summary>Has a table, writes as much of it as it is told, and leaves children behind.</summary>
    private const string Worker = """
        import json, os, signal
        table = bytearray(os.urandom(1 << 20)) * 16
        os.write(3, b"ready\n")
        while True:
            line = os.read(3, 65536)
            if not line:
                os._exit(0)
            wanted = json.loads(line)["payload"]
            for at in range(0, wanted.get("write", 0) << 20, 4096):
                table[at] ^= 1
            for kind in wanted.get("fork", []):
                ready, told = os.pipe()
                if os.fork() == 0:
                    if kind == "orphan" and os.fork() != 0:
                        os._exit(0)
                    for at in range(0, 1 << 20, 4096):
                        table[-1 - at] ^= 1
                    os.write(told, b".")
                    signal.pause()
                if kind == "orphan":
                    os.wait()
                os.read(ready, 1)
            os.write(3, b"done\n")
        """;

    private readonly EngineFixture _fixture = new(Parked);

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void A_clone_has_what_it_has_written()
    {
        using var image = Create();
        using var clone = Launch(image, "{}");
        var before = Read(clone);
        Assert.InRange(before.PrivateKib, 1u, 4u * 1024);
        Assert.True(before.SharedKib > TableMebibytes * 1024);

        Ask(clone, $$"""{"write":{{WrittenMebibytes}}}""");

        var after = Read(clone);
        Assert.InRange(after.PrivateKib, WrittenMebibytes * 1024u, before.PrivateKib + (WrittenMebibytes * 1024) + (ulong)SlackKib);
        Assert.Equal(after.ResidentKib, after.PrivateKib + after.SharedKib);
        Assert.True(after.PageTablesKib > 0);
    }

    [Fact]
    public void Template_parked_and_live_clones_together_have_every_page_once()
    {
        using var image = Create();
        var clones = Enumerable.Range(0, 3).Select(_ => Launch(image, "{}")).ToList();
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        var template = Assert.Single(_fixture.Engine.ListTemplates());
        Assert.Equal(("memory", image.Digest.ToString(), Parked), (template.Name, template.Digest, template.ParkedPids.Count));
        var before = Total(clones);
        Assert.Equal(1 + Parked + clones.Count, before.Processes);
        // Each of the six maps the table; all of them together have it once, and beside it what each has of its own.
        Assert.True(before.ResidentKib > (ulong)before.Processes * TableMebibytes * 1024);
        Assert.InRange((long)before.PssKib, (long)template.Memory.ResidentKib, (long)template.Memory.ResidentKib + (clones.Count * 2 * SlackKib));

        Ask(clones[0], $$"""{"write":{{WrittenMebibytes}}}""");

        // One copy more of what was written, for all of them; and the others' share of those pages has grown.
        var after = Total(clones);
        Assert.InRange((long)after.PssKib - (long)before.PssKib, (WrittenMebibytes * 1024) - SlackKib, (WrittenMebibytes * 1024) + SlackKib);
        clones.ForEach(clone => clone.Dispose());
    }

    [Fact]
    public void A_clone_is_all_its_processes()
    {
        using var image = Create();
        using var clone = Launch(image, "{}");
        var alone = Read(clone);
        Assert.Equal(1, alone.Processes);

        Ask(clone, """{"fork":["child","orphan"]}""");

        var family = Read(clone);
        Assert.Equal(3, family.Processes);
        // Each of the two has written a mebibyte of its own.
        Assert.InRange((long)family.PrivateKib - (long)alone.PrivateKib, 2 * 1024 - (long)alone.PrivateKib, 2 * 1024 + SlackKib);
        Assert.True(family.PageTablesKib > alone.PageTablesKib * 2);
    }

    [Fact]
    public void Huge_pages_and_page_tables_of_a_template_are_told()
    {
        using var image = Create();
        _fixture.Engine.WaitUntilReady(image, Cancellation);
        var memory = Assert.Single(_fixture.Engine.ListTemplates()).Memory;
        Assert.True(memory.ResidentKib > TableMebibytes * 1024);
        Assert.True(memory.PageTablesKib > 0);
        Assert.InRange(memory.HugeKib, 0u, memory.ResidentKib);
        Assert.Equal(0u, memory.HugeKib % 2048);
    }

    /// <summary>Whoever reads does not know that the clone is being ended.</summary>
    [Fact]
    public async Task A_clone_may_end_while_it_is_read()
    {
        using var image = Create();
        var current = Launch(image, "{}");
        var stop = false;
        var read = 0;
        var reader = Task.Run(
            () =>
            {
                while (!Volatile.Read(ref stop))
                {
                    if (Volatile.Read(ref current).ReadMemory() is { } memory)
                    {
                        Assert.True(memory is { Processes: > 0, PageTablesKib: > 0 });
                        read++;
                    }
                    _ = _fixture.Engine.ListTemplates();
                }
            },
            Cancellation);
        for (var i = 0; i < 30; i++)
        {
            var next = Launch(image, "{}");
            Interlocked.Exchange(ref current, next).Dispose();
        }
        current.Dispose();
        Volatile.Write(ref stop, true);
        await reader.WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
        Assert.True(read > 0);
        Assert.Null(current.ReadMemory());
    }

    private SnapshotImage Create() => _fixture.Create(Cancellation, Worker, name: "memory");

    private Clone Launch(SnapshotImage image, string payload)
    {
        var clone = _fixture.Engine.Launch(image, new CloneRequest { Id = "clone", PayloadJson = payload });
        Assert.Equal("done", EngineFixture.Answer(clone));
        return clone;
    }

    private static void Ask(Clone clone, string payload)
    {
        EngineFixture.Ask(clone, $$"""{"payload":{{payload}}}""");
        Assert.Equal("done", EngineFixture.Answer(clone));
    }

    private static ProcessMemory Read(Clone clone) => clone.ReadMemory() ?? throw new InvalidOperationException("the clone has ended");

    private ProcessMemory Total(IEnumerable<Clone> clones)
    {
        var template = Assert.Single(_fixture.Engine.ListTemplates());
        return clones.Aggregate(template.Memory + ProcessMemory.Sum(template.ParkedPids), (sum, clone) => sum + Read(clone));
    }
}
