using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>Programs that check themselves: tests/Subjects.</summary>
/// <param name="lazy">All of them share its farm: each is another snapshot.</param>
public class SubjectTests(LazyFarm lazy) : IClassFixture<LazyFarm>
{
    /// <summary>What a subject saw, step by step, the first time that it ran, in whichever way.</summary>
    private static readonly ConcurrentDictionary<string, IReadOnlyList<string>> Digests = new();

    private static readonly string[] Files =
        ["memory.c", "calls.c", "transfers.c", "races.c", "registers.c", "threads.c", "signals.c", "timers.c", "rseq.c", "process.py", "limits.py", "sandbox.py", "randomness.py", "randomness.js", "randomness.cs"];

    public static TheoryData<string> All => [.. Files];

    /// <summary>A check that fails without any freeze would prove nothing of the restore.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void A_subject_passes_when_it_is_not_frozen(string file)
    {
        // The channel is the subject's stdin: a socket that this side accepts.
        var path = Path.Combine(Path.GetTempPath(), $"snapshots-subject-{Guid.NewGuid():n}.sock");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        try
        {
            listener.Listen(1);
            const string connect = """
                import os, socket, sys
                channel = socket.socket(socket.AF_UNIX)
                channel.connect(sys.argv[1])
                os.environ["SNAPSHOTS_CHANNEL"] = str(channel.detach())
                os.set_inheritable(int(os.environ["SNAPSHOTS_CHANNEL"]), True)
                os.execvp(sys.argv[2], sys.argv[2:])
                """;
            using var process = ProgramRun.Start(["python3", "-c", connect, path, .. Workers.Subject(file).Command], []);
            using var channel = listener.Accept();
            channel.ReceiveTimeout = 30_000;
            using var reader = new StreamReader(new NetworkStream(channel));
            Assert.Equal("ready", reader.ReadLine());
            channel.Send(Encoding.UTF8.GetBytes("{\"id\":\"control\",\"generation\":0,\"payload\":{\"restored\":false},\"env\":{}}\n"));
            AssertAllWell(file, reader.ReadLine());
            Assert.True(process.WaitForExit(TimeSpan.FromSeconds(20)));
            Assert.Equal(0, process.ExitCode);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_subject_finds_itself_as_it_was_in_every_clone(string file)
    {
        using var farm = new Farm();
        farm.Create("subject", Workers.Subject(file));

        var rows = farm.CloneAndWait("subject", Enumerable.Repeat("{\"restored\":true}", 3));

        AssertAllWell(file, rows);
    }

    /// <summary>Several at once, none of which waits for its memory.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void A_subject_finds_itself_as_it_was_when_its_memory_comes_page_by_page(string file)
    {
        lazy.Farm.Create(file, Workers.Subject(file));

        var rows = lazy.Farm.CloneAndWait(file, Enumerable.Repeat("{\"restored\":true}", 3));

        AssertAllWell(file, rows);
        // Noted when the first has answered. Small programs have nothing to read.
        if (Digests.ContainsKey(file))
            Farm.Await("what the clones read", () => BytesReadByFirstClones(file) > 1 << 20);
    }

    [Theory]
    [InlineData("randomness.py")]
    [InlineData("randomness.js")]
    [InlineData("randomness.cs")]
    public void Clones_do_not_repeat_each_others_random_numbers(string file)
    {
        using var farm = new Farm();
        farm.Create("random", Workers.Subject(file));

        var rows = farm.CloneAndWait("random", Enumerable.Repeat("{\"restored\":true}", 10));

        var numbers = rows.SelectMany(row => JsonDocument.Parse(row.GetProperty("answer").GetString()!).RootElement.GetProperty("random").EnumerateArray())
            .Select(number => number.GetString()).ToList();
        Assert.Equal(numbers.Count, numbers.Distinct().Count());
    }

    /// <summary>The subject's second thread is inside a critical section as long as it lives; the kernel would send it to its abort handler, and so must a freeze.</summary>
    [Fact]
    public void A_thread_that_is_frozen_inside_a_restartable_sequence_is_stored_at_its_abort_handler()
    {
        using var farm = new Farm();
        var worker = Workers.Subject("rseq.c");
        farm.Create("rseq", worker);
        using var image = StoredImage.Open(farm).OpenImage("rseq");
        var process = Assert.Single(image.Manifest.Processes);
        var thread = Assert.Single(process.Threads, thread => thread.StoppedIn == "user mode");
        var program = process.Mappings.First(mapping => mapping.Label == worker.Command[0]);

        const int RipOffset = 16 * sizeof(ulong); // struct user_regs_struct
        Assert.NotEqual(0UL, thread.Rseq.Address);
        Assert.Equal(SymbolOf(worker.Command[0], "section_abort"), BitConverter.ToUInt64(thread.Registers.Span[RipOffset..]) - program.Start);
    }

    /// <summary>nm(1): lines such as <c>0000000000001a2b T section_abort</c>; the address counts from the start of a position-independent program.</summary>
    private static ulong SymbolOf(string program, string symbol)
    {
        var line = ProgramRun.Execute(["nm", program], TimeSpan.FromSeconds(20)).MustSucceed().Output.Split('\n').Single(line => line.EndsWith($" {symbol}", StringComparison.Ordinal));
        return Convert.ToUInt64(line.Split(' ')[0], 16);
    }

    private long BytesReadByFirstClones(string snapshot)
    {
        var run = lazy.Farm.Execute("--json", "inspect", snapshot, "--working-set");
        return run.ExitCode == 0 ? JsonDocument.Parse(run.Output).RootElement.GetProperty("working_set").GetProperty("read_bytes").GetInt64() : 0;
    }

    private static void AssertAllWell(string file, JsonElement[] rows)
    {
        Assert.Equal(3, rows.Length);
        foreach (var row in rows)
        {
            AssertAllWell(file, row.TryGetProperty("answer", out var answer) ? answer.GetString() : null, row.ToString());
            Assert.Equal(0, row.GetProperty("exit_code").GetInt32());
        }
    }

    private static void AssertAllWell(string file, string? answer, string? context = null)
    {
        Assert.True(answer is not null, $"{file} did not answer: {context}");
        var result = JsonDocument.Parse(answer!).RootElement;
        Assert.True(result.GetProperty("ok").GetBoolean(), $"{file}: {answer}");
        if (!result.TryGetProperty("digests", out var digests))
            return;
        IReadOnlyList<string> steps = [.. digests.EnumerateArray().Select(step => step.GetString()!)];
        Assert.Equal(Digests.GetOrAdd(file, steps), steps);
    }
}
