using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Clones of an OpenSSL user, clones of its clones, and freezes that meet a thread in our code.</summary>
[Collection(EngineFixture.Alone)]
public sealed class RandomNumberTests : IDisposable
{
    /// <summary>Answers its process ID, a number of its own, and one of a child of its own.</summary>
    private const string Worker = """
        import os, ssl
        ssl.RAND_bytes(16)
        os.write(3, b"ready\n")
        while os.read(3, 65536):
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.write(writer, ssl.RAND_bytes(16))
                os._exit(0)
            line = "%d %s %s\n" % (os.getpid(), ssl.RAND_bytes(16).hex(), os.read(reader, 16).hex())
            os.wait()
            os.close(reader)
            os.close(writer)
            os.write(3, line.encode())
        """;

    /// <summary>The same in Node, whose OpenSSL is inside the program and whose code is changed; without a child.</summary>
    private const string NodeWorker = """
        const { randomBytes } = require('node:crypto');
        const fs = require('node:fs');
        randomBytes(16);
        fs.writeSync(3, 'ready\n');
        const line = Buffer.alloc(65536);
        while (fs.readSync(3, line) > 0)
          fs.writeSync(3, `${process.pid} ${randomBytes(16).toString('hex')} ${randomBytes(16).toString('hex')}\n`);
        """;

    /// <summary>Finds our page in its clone and calls the function in it without end, from a thread; answers what it returned last.</summary>
    private const string Caller = """
        import ctypes, os, ssl, threading
        ssl.RAND_bytes(16)
        last = 0
        def call():
            global last
            for line in open("/proc/self/maps"):
                start = int(line.split("-")[0], 16)
                if " r-xp 00000000 00:00 0" in line and ctypes.string_at(start, 16) == b"SNAPSHOTS-FORKID":
                    function = ctypes.CFUNCTYPE(ctypes.c_int)(start + 16)
            while True:
                last = function()
        os.write(3, b"ready\n")
        os.read(3, 65536)
        threading.Thread(target=call, daemon=True).start()
        while last == 0:
            pass
        while True:
            os.write(3, b"%d %s\n" % (last, ssl.RAND_bytes(16).hex().encode()))
            os.read(3, 65536)
        """;

    private readonly EngineFixture _fixture = new();
    private readonly HashSet<string> _numbers = [];
    private readonly HashSet<string> _pids = [];

    public void Dispose() => _fixture.Dispose();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("python3 -c", Worker)]
    [InlineData("node -e", NodeWorker)]
    public void Generations_of_clones_never_repeat_a_random_number(string interpreter, string worker)
    {
        using var first = _fixture.Create(Cancellation, worker, interpreter);
        using var parent = DrawInClones(first);
        using var second = _fixture.CreateFrom(parent, "second", Cancellation);
        using var child = DrawInClones(second);
        using var third = _fixture.CreateFrom(child, "third", Cancellation);
        using var grandchild = DrawInClones(third);
        foreach (var clone in new[] { parent, child, grandchild })
        {
            EngineFixture.Ask(clone);
            Take(EngineFixture.Answer(clone));
        }

        Assert.Single(_pids);
    }

    [Fact]
    public void Another_template_of_the_same_snapshot_repeats_nothing()
    {
        using var image = _fixture.Create(Cancellation, Worker);
        DrawInClones(image).Dispose();
        _fixture.Engine.Drop(image.Digest.ToString());
        DrawInClones(image).Dispose();
    }

    /// <summary>Application code runs in our page: a freeze that meets a thread there keeps the page, where its clones go on.</summary>
    [Fact]
    public void A_clone_can_be_frozen_while_it_asks_for_its_fork_identity()
    {
        const int Attempts = 60;
        using var first = _fixture.Create(Cancellation, Caller);
        using var parent = _fixture.Launch(first);
        var identity = EngineFixture.Answer(parent).Split(' ')[0];
        var page = _fixture.Engine.Prepare(first).Programs.Plan.ForkIdentity;
        Assert.True(page.LengthBytes > 0);
        for (var attempt = 1; attempt <= Attempts; attempt++)
        {
            using var second = _fixture.CreateFrom(parent, "second", Cancellation);
            if (!second.Manifest.Processes[0].Threads.Any(thread => page.Contains(InstructionPointer(thread))))
                continue;
            using var one = _fixture.Launch(second);
            using var two = _fixture.Launch(second);
            var answers = new[] { EngineFixture.Answer(one).Split(' '), EngineFixture.Answer(two).Split(' ') };
            Assert.All(answers, answer => Assert.Equal(identity, answer[0])); // that thread still calls the old function
            Assert.NotEqual(answers[0][1], answers[1][1]);
            return;
        }
        Assert.Fail($"none of {Attempts} freezes met the thread in the page");
    }

    [Fact]
    public void Each_template_has_a_fork_identity_of_its_own_and_workers_without_OpenSSL_have_none()
    {
        using (var plain = _fixture.Create(Cancellation))
            Assert.Equal(0UL, _fixture.Engine.Prepare(plain).Programs.Plan.ForkIdentity.LengthBytes);
        using var image = _fixture.Create(Cancellation, Worker);
        var first = ReadIdentityPage(image);
        _fixture.Engine.Drop(image.Digest.ToString());
        var second = ReadIdentityPage(image);

        Assert.Equal(ForkIdentityFunction.Magic, Encoding.ASCII.GetString(first, 0, ForkIdentityFunction.Magic.Length));
        Assert.NotEqual(first, second);
    }

    /// <summary>Some clones draw twice each; the last one lives on.</summary>
    private Clone DrawInClones(SnapshotImage image)
    {
        const int Clones = 4;
        for (var i = 1; ; i++)
        {
            var clone = _fixture.Launch(image);
            Take(EngineFixture.Answer(clone));
            EngineFixture.Ask(clone);
            Take(EngineFixture.Answer(clone));
            if (i == Clones)
                return clone;
            clone.Dispose();
        }
    }

    private void Take(string answer)
    {
        var words = answer.Split(' ');
        _pids.Add(words[0]);
        Assert.All(words[1..], number => Assert.True(number.Length == 32 && _numbers.Add(number), string.Create(CultureInfo.InvariantCulture, $"{number} came twice, after {_numbers.Count} others")));
    }

    private byte[] ReadIdentityPage(SnapshotImage image)
    {
        var template = _fixture.Engine.Prepare(image);
        var page = new byte[64];
        Assert.Equal(Errno.None, ProcessVm.Read(template.Pid, template.Programs.Plan.ForkIdentity.Start, page, out var read));
        Assert.Equal(page.Length, read);
        return page;
    }

    private static VirtualAddress InstructionPointer(ThreadImage thread) => new(BinaryPrimitives.ReadUInt64LittleEndian(thread.Registers.Span[128..]));
}
