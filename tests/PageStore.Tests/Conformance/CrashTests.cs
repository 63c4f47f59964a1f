using System.Diagnostics;
using System.Globalization;
using Snapshots.Images;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

/// <summary>Processes that work on a store and are killed at any instant, or side by side, lose nothing that was published.</summary>
public abstract class CrashTests
{
    private readonly Storage _storage;

    private protected CrashTests(Storage storage) => _storage = storage;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private int Rounds => _storage == Storage.S3 ? 5 : 25;

    private static string Host => Path.Combine(AppContext.BaseDirectory.Replace("PageStore.Tests", "PageStoreHost", StringComparison.Ordinal), "Snapshots.PageStoreHost.dll");

    [Fact]
    public void Killed_at_any_instant_a_process_leaves_a_store_that_is_whole()
    {
        using var store = new TestStore(_storage);
        var random = new Random(11);
        var expected = new HashSet<string>(StringComparer.Ordinal);
        for (var round = 0; round < Rounds; round++)
        {
            using var process = Start(store.Root, $"r{round}", round * 100, 1000);
            var lines = random.Next(1, _storage == Storage.S3 ? 5 : 12);
            var uncertain = default(string);
            for (string? line; lines-- > 0 && (line = process.StandardOutput.ReadLine()) is not null;)
                Apply(line, expected, ref uncertain);
            // The instant within the next step is what varies.
            Thread.Sleep(TimeSpan.FromMicroseconds(random.Next(30_000)));
            process.Kill();
            process.WaitForExit();
            for (string? line; (line = process.StandardOutput.ReadLine()) is not null;)
                Apply(line, expected, ref uncertain);
            AssertWhole(store, expected, $"r{round}", uncertain);
        }
        foreach (var name in store.Images.List().Select(image => image.Name).ToList())
            store.Images.Remove(name);
        Assert.Empty(store.Packs);
        Assert.Empty(store.Maps);
    }

    [Fact]
    public void Three_processes_that_make_remove_and_collect_side_by_side_break_nothing()
    {
        using var store = new TestStore(_storage);
        var processes = Enumerable.Range(0, 3).Select(i => Start(store.Root, $"p{i}", i * 1000, _storage == Storage.S3 ? 6 : 25)).ToList();
        var expected = new HashSet<string>(StringComparer.Ordinal);
        foreach (var process in processes)
        {
            string? uncertain = null, last = null;
            for (string? line; (line = process.StandardOutput.ReadLine()) is not null; last = line)
                Apply(line, expected, ref uncertain);
            process.WaitForExit();
            Assert.Equal(("done", 0), (last, process.ExitCode));
            process.Dispose();
        }
        AssertWhole(store, expected, "none", null);
        GarbageCollection.Run(store.Store);
        AssertWhole(store, expected, "none", null);
        Assert.Equal(0, StoreUsage.Measure(store.Store).Snapshots.Count(snapshot => !expected.Contains(snapshot.Name)));
    }

    /// <param name="uncertain">A name whose removal had begun when its process was killed.</param>
    private void AssertWhole(TestStore store, HashSet<string> expected, string killed, string? uncertain)
    {
        // Opening removes what the dead left.
        var opened = store.Open();
        Assert.Empty(store.Incoming);
        var listed = opened.Images.List();
        Assert.All(listed, image => Assert.Null(image.Problem));
        var names = listed.Select(image => image.Name).ToHashSet(StringComparer.Ordinal);
        Assert.DoesNotContain(expected.Except(names), name => name != uncertain);
        // An image may have been published just before it could be said.
        Assert.True(names.Except(expected).Count(name => name.StartsWith(killed + "-", StringComparison.Ordinal)) <= 1);
        Assert.DoesNotContain(names.Except(expected), name => !name.StartsWith(killed + "-", StringComparison.Ordinal));
        foreach (var name in names)
        {
            var number = int.Parse(name.AsSpan(name.IndexOf('-', StringComparison.Ordinal) + 1), CultureInfo.InvariantCulture);
            Assert.True(TestImages.Memory(number, 96).AsSpan().SequenceEqual(TestImages.Read(opened.Images, name)), name);
        }
        Assert.Empty(StoreCheck.Run(opened, repair: false).Problems);
        expected.Clear();
        expected.UnionWith(names);
        // Nothing lies about that no name reaches, but for parts of packs.
        var usage = StoreUsage.Measure(opened);
        if (_storage == Storage.S3)
        {
            // What a process sent before it was killed may arrive after the collection: the next one finds it.
            var clock = Stopwatch.StartNew();
            while (StoreUsage.Measure(opened).StoredBytes != store.StoredBytes)
            {
                Assert.True(clock.Elapsed < Limit, "something that nothing reaches stays");
                opened.Images.CollectGarbage();
            }
            return;
        }
        Assert.Equal(usage.StoredBytes, store.StoredBytes);
    }

    private static void Apply(string line, HashSet<string> expected, ref string? uncertain)
    {
        if (uncertain is not null)
            expected.Remove(uncertain);
        uncertain = null;
        if (line.Split(' ') is ["made", var made])
            expected.Add(made);
        else if (line.Split(' ') is ["removing", var removed])
            uncertain = removed;
    }

    private static Process Start(string store, string prefix, int first, int rounds) =>
        Process.Start(new ProcessStartInfo("dotnet", [Host, store, prefix, first.ToString(CultureInfo.InvariantCulture), rounds.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardOutput = true,
        })!;
}
