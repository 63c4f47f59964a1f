using System.Diagnostics;
using System.Text.Json;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>What happens to clones whose memory comes page by page when it can come no more.</summary>
public class LazyFaultTests
{
    /// <summary>
    /// 64 MiB whose pages tell their number. Its request names a directory, where a file tells that it is at work and another that a page is wrong, and
    /// what to do: read on and on, about one page in a millisecond, in four processes; or, once somebody opens a pipe for writing, read all, or
    /// nothing that it has not fetched before.
    /// </summary>
    private const string Reader = """
        import ctypes, json, mmap, os, time
        libc = ctypes.CDLL(None)
        PAGES = 16384
        memory = mmap.mmap(-1, PAGES * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        def pattern(page):
            return (page * 2654435761 % 4294967296).to_bytes(4, "little") * 1024
        for page in range(PAGES):
            memory[page * 4096:(page + 1) * 4096] = pattern(page)
        channel = int(os.environ["SNAPSHOTS_CHANNEL"])
        os.write(channel, b"ready\n")
        message = json.loads(os.read(channel, 65536))
        request = message["payload"]
        directory = request["directory"]
        def note(what):
            open(f"{directory}/{what}-{message['id']}-{os.getpid()}", "w").close()
        def look(page):
            if memory[page * 4096:(page + 1) * 4096] != pattern(page):
                note("wrong")
        look(PAGES - 1)
        if request["do"] == "read on":
            number = sum(os.fork() == 0 for _ in range(2))
            note("reads")
            for page in range(number * 5, PAGES, 9):
                look(page)
                time.sleep(0.001)
        else:
            if request["do"] == "fetch":
                libc.mlockall(1)
            pipe = f"{directory}/pipe-{request['name']}"
            os.mkfifo(pipe)
            open(pipe).close()
            if request["do"] == "read all":
                for page in range(PAGES):
                    look(page)
        os.write(channel, b"done\n")
        """;

    private static readonly Worker Worker = new("channel", ["python3", "-c", Reader]);

    /// <summary>Its template is completed while the agent is killed.</summary>
    private static readonly Worker Large = new("channel", ["python3", "-c", """
        import mmap, os
        memory = mmap.mmap(-1, 128 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, len(memory), 4096):
            memory[at:at + 8] = (at + 1).to_bytes(8, "little")
        channel = int(os.environ["SNAPSHOTS_CHANNEL"])
        os.write(channel, b"ready\n")
        os.read(channel, 65536)
        os.write(channel, b"%d\n" % sum(memory[at:at + 8] == (at + 1).to_bytes(8, "little") for at in range(0, len(memory), 65536)))
        """]);

    [Fact]
    public void A_killed_agent_ends_lazy_clones_before_one_of_them_reads_zeros_and_harms_no_snapshot()
    {
        const int Rounds = 12, Clones = 2, ProcessesOfEach = 4;
        var random = new Random(1);
        using var farm = new Farm(LazyFarm.Options);
        farm.Create("reader", Worker);
        farm.Create("large", Large);
        for (var round = 0; round < Rounds; round++)
        {
            if (round > 0)
                farm.RestartAgent();
            var notes = Directory.CreateDirectory(Path.Combine(farm.Home, $"notes-{round}")).FullName;
            var clones = farm.ExecuteJson("clone", "reader", "--count", $"{Clones}", "--payload", Request(notes, "clone", "read on")).EnumerateArray()
                .Select(clone => clone.GetProperty("pid").GetInt32()).ToList();
            Farm.Await("clones at work", () => Notes(notes, "reads") == Clones * ProcessesOfEach);
            var readers = clones.SelectMany(clone => Leftovers.DescendantsOf(clone)).ToHashSet();
            Assert.Equal(Clones * (ProcessesOfEach - 1), readers.Count);
            readers.UnionWith(Leftovers.DescendantsOf(farm.AgentPid).Where(process => clones.Contains(process.Pid)));
            // Every third time another snapshot is launched and completed meanwhile.
            using var completing = round % 3 == 0 ? farm.Start("clone", "large") : null;
            Thread.Sleep(random.Next(completing is null ? 60 : 900)); // the instant is what is tried

            // Its command line would start another agent.
            completing?.Kill();
            farm.KillAgent();

            Farm.Await("all that read to be dead", TimeSpan.FromSeconds(1), () => !Leftovers.Running().Overlaps(readers));
            Assert.Equal(0, Notes(notes, "wrong"));
            completing?.WaitForExit();
        }

        Assert.Empty(farm.ExecuteJson("fsck").GetProperty("problems").EnumerateArray());
        farm.RestartAgent();
        Assert.Equal("2048", farm.CloneAndWait("large", ["{}"])[0].GetProperty("answer").GetString()!.Trim());
    }

    [Theory]
    [InlineData("damaged")]
    [InlineData("truncated")]
    [InlineData("removed")]
    public async Task Clones_that_need_a_page_that_cannot_be_read_end_at_once_and_say_why(string how)
    {
        using var farm = new Farm(LazyFarm.Options);
        farm.Create("reader", Worker);
        string[] names = ["needs-1", "content", "needs-2"];
        var payloads = Path.Combine(farm.Home, "payloads.jsonl");
        await File.WriteAllLinesAsync(payloads, names.Select(name => Request(farm.Home, name, name == "content" ? "fetch" : "read all")), TestContext.Current.CancellationToken);
        using var clones = farm.Start("--json", "clone", "reader", "--payloads", payloads, "--wait");
        var output = clones.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        Farm.Await("clones that wait", () => names.All(name => File.Exists(Pipe(farm, name))));

        foreach (var pack in Directory.GetFiles(Path.Combine(farm.Store, "domains", "default", "packs")))
            Spoil(pack, how);
        var needed = Stopwatch.StartNew();
        foreach (var name in names.Where(name => name != "content"))
            Open(Pipe(farm, name));
        if (how != "removed")
        {
            Farm.Await("the reasons", () => farm.ExecuteJson("ps", "--all").EnumerateArray().Count(Failed) == 2);
            Assert.InRange(needed.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(5)); // the command line takes most of it
        }
        Open(Pipe(farm, "content"));

        var rows = JsonDocument.Parse(await output).RootElement.EnumerateArray().ToArray();
        Assert.Equal(0, Notes(farm.Home, "wrong"));
        Assert.Equal(0, rows[1].GetProperty("exit_code").GetInt32());
        Assert.False(Failed(rows[1]));
        foreach (var row in new[] { rows[0], rows[2] })
        {
            if (how == "removed")
            {
                // An open file is there until it is closed.
                Assert.Equal(0, row.GetProperty("exit_code").GetInt32());
                continue;
            }
            Assert.Equal(9, row.GetProperty("signal").GetInt32());
            Assert.Contains("could not be delivered", row.GetProperty("failure").GetString(), StringComparison.Ordinal);
        }
    }

    private static bool Failed(JsonElement row) => row.TryGetProperty("failure", out var failure) && failure.ValueKind == JsonValueKind.String;

    private static string Request(string directory, string name, string what) => $$"""{"directory":"{{directory}}","name":"{{name}}","do":"{{what}}"}""";

    private static int Notes(string directory, string what) => Directory.GetFiles(directory, $"{what}-*").Length;

    private static string Pipe(Farm farm, string name) => Path.Combine(farm.Home, $"pipe-{name}");

    private static void Open(string pipe) => ProgramRun.Execute(["sh", "-c", ": > \"$0\"", pipe], TimeSpan.FromSeconds(10)).MustSucceed();

    private static void Spoil(string pack, string how)
    {
        using var file = File.Open(pack, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        switch (how)
        {
            case "truncated":
                file.SetLength(4096);
                break;
            case "removed":
                File.Delete(pack);
                break;
            default:
                var bytes = new byte[file.Length];
                file.ReadExactly(bytes);
                for (var at = 4096; at < bytes.Length * 9 / 10; at += 256)
                    bytes[at] ^= 1;
                file.Position = 0;
                file.Write(bytes);
                break;
        }
    }
}
