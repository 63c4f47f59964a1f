using System.Text.Json;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>Every example: frozen once, 50 clones, each with its own request and its own answer.</summary>
/// <param name="lazy">All of them share its farm: each is another snapshot.</param>
public class RuntimeTests(LazyFarm lazy) : IClassFixture<LazyFarm>
{
    private const int Clones = 50;

    [Theory]
    [InlineData("python")]
    [InlineData("dotnet-console")]
    [InlineData("shell")]
    public void A_worker_with_a_channel_answers_each_clone_its_own_request(string example)
    {
        using var farm = new Farm();
        farm.Create(example, Workers.Example(example));
        var keys = Enumerable.Range(0, Clones).Select(index => index * 37 + 5).ToArray();

        var rows = farm.CloneAndWait(example, keys.Select(key => $"{{\"key\":{key}}}"));

        Assert.Equal(Clones, rows.Length);
        foreach (var (row, key) in rows.Zip(keys))
        {
            Assert.True(row.TryGetProperty("answer", out var line), $"no answer: {row}");
            var answer = JsonDocument.Parse(line.GetString()!).RootElement;
            Assert.Equal(key, answer.GetProperty("key").GetInt64());
            Assert.Equal(Expected(example, key), answer.GetProperty("value").GetInt64());
            Assert.Equal(0, row.GetProperty("exit_code").GetInt32());
            if (answer.TryGetProperty("id", out var id))
                Assert.Equal(row.GetProperty("id").GetString(), id.GetString());
        }
        Assert.Equal(Clones, rows.Select(row => row.GetProperty("id").GetString()).Distinct().Count());
    }

    [Theory]
    [InlineData("node")]
    [InlineData("java")]
    [InlineData("aspnet")]
    public void Servers_listen_on_the_same_port_side_by_side(string example)
    {
        using var farm = new Farm();
        farm.Create(example, Workers.Example(example));

        _ = farm.Clone(example, Clones);
        AssertAnswers(farm, example, Clones);
    }

    [Theory]
    [InlineData("node")]
    [InlineData("java")]
    [InlineData("aspnet")]
    public void Servers_answer_before_their_memory_is_there(string example)
    {
        lazy.Farm.Create(example, Workers.Example(example));

        _ = lazy.Farm.Clone(example, 3);
        AssertAnswers(lazy.Farm, example, 3);
    }

    private static void AssertAnswers(Farm farm, string example, int clones)
    {
        var running = farm.Processes();

        Assert.Equal(clones, running.Length);
        Assert.Equal(clones, running.Select(clone => clone.GetProperty("pid").GetInt32()).Distinct().Count());
        // Twice to each: the second answer shows that the first changed this clone and no other.
        for (var round = 1; round <= 2; round++)
        {
            foreach (var (clone, index) in running.Select((clone, index) => (clone, index)))
            {
                var n = index * 91 + round;
                var answer = NetworkRequest.Get(clone.GetProperty("pid").GetInt32(), $"/?n={n}");
                Assert.Equal(n, answer.GetProperty("n").GetInt64());
                Assert.Equal(Expected(example, n), answer.GetProperty("value").GetInt64());
                Assert.Equal(round, answer.GetProperty("served").GetInt32());
            }
        }
        farm.KillAll();
        Assert.Empty(farm.Processes());
    }

    private static long Expected(string example, long key) =>
        example == "shell" ? key * key + 7 : (key * 2654435761L + 12345L) & 0xFFFFFFFFL;
}
