using System.Globalization;
using System.Text.Json;
using Snapshots.Linux.Proc;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>docs/layers.md through the command line.</summary>
public class LayerTests
{
    private const string Doubles = """{"code":"import sqlite3\ndef handle(arguments):\n    return {'value': arguments['x'] * 2, 'connected': sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0]}"}""";

    private static readonly Worker Functions = new("channel", ["python3", RepositoryRoot.Combine("examples/python/functions.py")]);

    /// <summary>Gets ready as often as it is asked to, holds a table of 16 MiB, and has a thread.</summary>
    private static readonly Worker Node = new("channel", ["node", "-e", """
        const fs = require("fs"), channel = Number(process.env.SNAPSHOTS_CHANNEL);
        const table = Array.from({ length: 100000 }, (_, i) => ({ key: i, name: `row ${i}` }));
        let factor = 1;
        for (;;) {
            fs.writeSync(channel, "ready\n");
            const buffer = Buffer.alloc(65536);
            const payload = JSON.parse(buffer.toString("utf8", 0, fs.readSync(channel, buffer))).payload;
            if (payload.factor) { factor = payload.factor; continue; }
            fs.writeSync(channel, JSON.stringify({ value: table[payload.key].key * factor }) + "\n");
            process.exit(0);
        }
        """]);

    [Fact]
    public void Three_levels_of_a_python_runtime()
    {
        using var farm = new Farm("--parked", "1");
        farm.Create("runtime", Functions);
        farm.Execute("create", "libraries", "--from", "runtime", "--payload", """{"imports":["json","ssl","asyncio","http.client","xml.etree.ElementTree","decimal","email.parser","unittest"]}""").MustSucceed();
        var created = farm.ExecuteJson("create", "double", "--from", "libraries", "--payload", Doubles);

        Assert.Equal("libraries", created.GetProperty("layer").GetProperty("parent").GetString());
        var rows = farm.CloneAndWait("double", Enumerable.Range(1, 5).Select(x => $"{{\"arguments\":{{\"x\":{x}}}}}"));
        Assert.Equal(Enumerable.Range(1, 5).Select(x => (x * 2, 42)), rows.Select(Answer).Select(answer => (answer.GetProperty("result").GetProperty("value").GetInt32(), answer.GetProperty("result").GetProperty("connected").GetInt32())));
        // The function is in its own layer only; the modules are in those above their own.
        Assert.Contains("KeyError", Answer(farm.CloneAndWait("libraries", ["{\"arguments\":{}}"])[0]).GetProperty("error").GetString(), StringComparison.Ordinal);
        Assert.True(Modules(farm, "runtime") + 50 < Modules(farm, "libraries"));
        Assert.True(Modules(farm, "libraries") < Modules(farm, "double"));

        AssertShared(farm);
        AssertStoredOnce(farm);
        // A function is little beside what it needs.
        var own = farm.ExecuteJson("templates").GetProperty("templates").EnumerateArray().Single(template => template.GetProperty("snapshot").GetString() == "double");
        Assert.True(own.GetProperty("counted_bytes").GetInt64() * 3 < own.GetProperty("template").GetProperty("resident_kib").GetInt64() * 1024, own.ToString());
        Assert.Contains("layer of  libraries (sha256:", farm.Execute("inspect", "double").MustSucceed().Output, StringComparison.Ordinal);
        Assert.Contains("(layer of runtime)", farm.Execute("ls").MustSucceed().Output, StringComparison.Ordinal);

        Assert.DoesNotContain(farm.AgentErrors, line => line.Contains("shares no memory", StringComparison.Ordinal));
    }

    [Fact]
    public void A_layer_needs_its_parent_for_nothing()
    {
        using (var farm = new Farm())
        {
            farm.Create("runtime", Functions);
            farm.Execute("create", "double", "--from", "runtime", "--payload", Doubles).MustSucceed();
            farm.Execute("rm", "runtime").MustSucceed();
            farm.Execute("gc").MustSucceed();
            farm.Execute("fsck").MustSucceed();

            var answer = Answer(farm.CloneAndWait("double", ["{\"arguments\":{\"x\":21}}"])[0]);

            Assert.Equal(42, answer.GetProperty("result").GetProperty("value").GetInt32());
            Assert.Contains(farm.AgentErrors, line => line.Contains("of double", StringComparison.Ordinal) && line.Contains("shares no memory with that of its parent runtime", StringComparison.Ordinal));
        }
    }

    /// <summary>The generator is seeded in the parent already, and again in the layer: both templates lead it to think of a fork.</summary>
    [Fact]
    public void Clones_of_a_layer_do_not_repeat_each_others_random_numbers()
    {
        using var farm = new Farm();
        farm.Create("runtime", Functions);
        farm.Execute("create", "seeded", "--from", "runtime", "--payload", """{"code":"import ssl\nearly = ssl.RAND_bytes(8).hex()"}""").MustSucceed();
        farm.Execute("create", "drawing", "--from", "seeded", "--payload", """{"code":"late = ssl.RAND_bytes(8).hex()\ndef handle(arguments): return [early, late, ssl.RAND_bytes(8).hex()]"}""").MustSucceed();

        var drawn = farm.CloneAndWait("drawing", Enumerable.Repeat("{\"arguments\":{}}", 8)).Select(row => Answer(row).GetProperty("result").EnumerateArray().Select(number => number.GetString()).ToArray()).ToList();

        Assert.Single(drawn.Select(numbers => (numbers[0], numbers[1])).Distinct());
        Assert.Equal(8, drawn.Select(numbers => numbers[2]).Distinct().Count());
        AssertShared(farm);
    }

    [Fact]
    public void A_node_worker_gets_ready_twice()
    {
        using var farm = new Farm();
        farm.Create("one", Node);
        farm.Execute("create", "seven", "--from", "one", "--payload", "{\"factor\":7}").MustSucceed();
        var rows = farm.CloneAndWait("seven", Enumerable.Range(100, 5).Select(key => $"{{\"key\":{key}}}"));
        Assert.Equal(Enumerable.Range(100, 5).Select(key => key * 7), rows.Select(row => Answer(row).GetProperty("value").GetInt32()));
        AssertShared(farm, parents: 1);
    }

    /// <summary>Servers with many threads: their layer is taken as soon as they answer.</summary>
    [Theory]
    [InlineData("java")]
    [InlineData("aspnet")]
    [InlineData("node")]
    public void A_server_becomes_a_layer_and_its_clones_answer(string example)
    {
        using var farm = new Farm();
        farm.Create("server", Workers.Example(example));
        farm.Execute("create", "layer", "--from", "server").MustSucceed();
        foreach (var clone in farm.Clone("layer", 3))
        {
            var answer = NetworkRequest.Get(clone.GetProperty("pid").GetInt32(), "/?n=5");
            Assert.Equal((5 * 2654435761L + 12345L) & 0xFFFFFFFFL, answer.GetProperty("value").GetInt64());
        }
        farm.KillAll();
        AssertShared(farm, parents: 1);
    }

    [Theory]
    [InlineData("import os; os._exit(7)", "ended before it was ready: exit code 7")]
    [InlineData("import time; time.sleep(100)", "was not ready within 1.5 s")]
    [InlineData("raise ValueError('no such thing')", "no such thing")]
    public void A_clone_that_does_not_get_ready_again_leaves_nothing(string code, string says)
    {
        using var farm = new Farm();
        farm.Create("runtime", Functions);
        var before = StoreFiles(farm);

        var run = farm.Execute("--json", "create", "layer", "--from", "runtime", "--payload", JsonSerializer.Serialize(new Dictionary<string, string> { ["code"] = code }), "--timeout", "1500ms");

        Assert.Equal(9, run.ExitCode);
        Assert.Contains(says, run.Errors + run.Output, StringComparison.Ordinal);
        Assert.Contains("not_ready", run.Errors + run.Output, StringComparison.Ordinal);
        Assert.Equal(before, StoreFiles(farm));
    }

    [Fact]
    public void What_does_not_go_together_is_refused()
    {
        using var farm = new Farm();
        farm.Create("runtime", Functions);
        Assert.Equal(2, farm.Execute("create", "layer", "--from", "runtime", "--pid", "1").ExitCode);
        Assert.Equal(2, farm.Execute("create", "layer", "--payload", "1", "--", "true").ExitCode);
        Assert.Equal(2, farm.Execute("create", "layer", "--from", "runtime", "--payload", "{").ExitCode);
        Assert.Equal(3, farm.Execute("create", "layer", "--from", "nothing").ExitCode);
    }

    [Fact]
    public void A_creator_that_is_killed_at_any_moment_leaves_neither_process_nor_file()
    {
        using var farm = new Farm();
        farm.Create("runtime", Functions);
        var before = StoreFiles(farm);
        var random = new Random(3);
        for (var round = 0; round < 12; round++)
        {
            var alive = Leftovers.Alive();
            HashSet<(int Pid, ulong Start)> family;
            using (var creator = farm.Start("create", "layer", "--from", "runtime", "--payload", """{"imports":["ssl"]}"""))
            {
                Thread.Sleep(random.Next(50, 900)); // a moment that nothing announces
                family = [.. Leftovers.DescendantsOf(creator.Id).Except(alive)];
                creator.Kill();
                creator.WaitForExit();
            }
            Farm.Await("its processes to be gone", () => !Leftovers.Alive().Overlaps(family));
            if (farm.Execute("--json", "ls").MustSucceed().Output.Contains("\"layer\"", StringComparison.Ordinal))
                farm.Execute("rm", "layer").MustSucceed(); // it had come to its end
            farm.Execute("gc").MustSucceed();
            Assert.Equal(before, StoreFiles(farm));
        }
        farm.Execute("fsck").MustSucceed();
    }

    /// <summary>Every template but the first is a fork, and has little for itself.</summary>
    private static void AssertShared(Farm farm, int parents = 2)
    {
        var templates = farm.ExecuteJson("templates").GetProperty("templates").EnumerateArray().ToList();
        var layers = templates.Where(template => template.TryGetProperty("parent_digest", out _)).ToList();
        Assert.Equal((parents, parents + 1), (layers.Count, templates.Count));
        foreach (var layer in layers)
        {
            var parent = templates.Single(template => template.GetProperty("digest").GetString() == layer.GetProperty("parent_digest").GetString());
            Assert.True(layer.GetProperty("counted_bytes").GetInt64() < Resident(layer) * 7 / 8, $"{layer} of {parent}");
            // Anonymous pages that nobody else has: what the kernel itself says.
            var own = ProcessMemory.TryRead(layer.GetProperty("pid").GetInt32())!.Value.PrivateKib * 1024;
            Assert.True((long)own <= layer.GetProperty("counted_bytes").GetInt64() + (1 << 20), $"{own} bytes are private of {layer}");
        }

        static long Resident(JsonElement template) => template.GetProperty("template").GetProperty("resident_kib").GetInt64() * 1024;
    }

    private static void AssertStoredOnce(Farm farm)
    {
        var usage = farm.ExecuteJson("df").GetProperty("snapshots").EnumerateArray().ToDictionary(row => row.GetProperty("name").GetString()!);
        Assert.True(usage["double"].GetProperty("exclusive_bytes").GetInt64() * 4 < usage["double"].GetProperty("stored_bytes").GetInt64(), usage["double"].ToString());
        farm.Execute("fsck").MustSucceed();
    }

    private static JsonElement Answer(JsonElement row) =>
        row.TryGetProperty("answer", out var answer) ? JsonDocument.Parse(answer.GetString()!).RootElement : throw new InvalidOperationException($"no answer: {row}");

    private static int Modules(Farm farm, string name) => Answer(farm.CloneAndWait(name, ["{\"arguments\":{\"x\":1}}"])[0]).GetProperty("modules").GetInt32();

    private static List<string> StoreFiles(Farm farm) =>
        [.. Directory.EnumerateFiles(farm.Store, "*", SearchOption.AllDirectories).Select(path => string.Create(CultureInfo.InvariantCulture, $"{Path.GetRelativePath(farm.Store, path)} {new FileInfo(path).Length}")).Where(file => !file.StartsWith("working-sets", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
}
