using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Readiness;
using Xunit;

namespace Snapshots.Engine.Tests;

/// <summary>Snapshots of clones that store what differs, and templates that are forks of their parents'.</summary>
[Collection(EngineFixture.Alone)]
public sealed class LayerTests
{
    private const int SIGKILL = 9;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Three_levels_are_as_they_were_and_share_their_memory()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(3, Cancellation);
        for (var stage = 3; stage >= 1; stage--)
        {
            layers.CheckClone(layers.Source($"stage{stage}"), stage);
            layers.CheckClone(layers.Source($"stage{stage}"), stage);
        }

        Assert.Empty(layers.Unshared);
        var templates = layers.Engine.Engine.ListTemplates().OrderBy(template => template.CountedBytes).ToList();
        Assert.Equal([Digest("stage2"), Digest("stage1"), null], templates.Select(template => template.ParentDigest));
        // 8 MiB of the first stage are shared by all; the third changed a few pages.
        Assert.True(templates[2].CountedBytes > 8 << 20);
        Assert.InRange(templates[1].CountedBytes, 1 << 20, 6 << 20);
        Assert.InRange(templates[0].CountedBytes, 64 << 10, 1 << 20);

        string Digest(string name) => layers.Engine.Store.Resolve(name).ToString();
    }

    /// <summary>The same clone frozen twice: once read whole, once as a layer.</summary>
    [Fact]
    public void A_layer_holds_what_a_snapshot_of_the_same_clone_holds_and_stores_little_of_it()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(1, Cancellation);
        var store = layers.Engine.Store;
        using var parent = store.OpenImage("stage1");
        using var clone = layers.Engine.Engine.Launch(parent, new CloneRequest { Id = "two", PayloadJson = "{\"stage\":2}" });
        Assert.Equal("answer\nready", EngineFixture.Answer(clone));
        // It has something left to do before it waits in read(2), system call 0.
        Assert.True(SpinWait.SpinUntil(() => File.ReadAllText($"/proc/{clone.HostPid}/syscall").StartsWith("0 ", StringComparison.Ordinal), TimeSpan.FromSeconds(10)));
        var template = layers.Engine.Engine.Prepare(parent);
        SnapshotCreator.FreezeLayer(store, "layer", clone.HostPid, new LayerBase { Parent = parent, TemplatePid = template.Pid, UnlikeImage = template.Programs.UnlikeImage }, new ChannelReadiness(), keepRunning: true);

        // In this order: process_vm_readv(2) pins what it reads, and the kernel gives a process copies of its own of shared pages that are pinned.
        using var whole = layers.Engine.CreateFrom(clone, "whole", Cancellation);
        using var layer = store.OpenImage("layer");
        Assert.Equal(parent.Digest.Hex, Convert.ToHexStringLower(layer.Manifest.Layer.ParentSha256.Span));
        Assert.InRange(layer.Manifest.Layer.UnchangedBytes, 6UL << 20, layer.Pages.LengthBytes - (1 << 20));
        AssertSameMemory(whole, layer);
        store.Remove("whole");
        store.Remove("stage1");
        layer.VerifyPages();
    }

    /// <summary>Two templates of each level, one of them built alone: not a byte, a protection or a flag differs.</summary>
    [Fact]
    public void The_template_of_a_layer_is_as_if_it_had_been_built_alone()
    {
        using var layers = new LayerFixture();
        using var alone = new EngineFixture();
        layers.CreateStages(3, Cancellation);
        foreach (var name in new[] { "stage2", "stage3" })
        {
            using var image = layers.Engine.Store.OpenImage(name);
            using var forked = layers.Engine.Engine.Use(layers.Source(name));
            var other = alone.Engine.Prepare(image);
            Assert.NotNull(forked.Template.ParentDigest);
            Assert.Null(other.ParentDigest);
            foreach (var mapping in image.Manifest.Processes[0].Mappings.Where(mapping => mapping.Kind is MappingKind.PrivateAnonymous or MappingKind.PrivateFile or MappingKind.SharedFile))
                Assert.True(ReadMemory(forked.Template.Pid, mapping).AsSpan().SequenceEqual(ReadMemory(other.Pid, mapping)), $"{name}: {mapping.Start:x}-{mapping.End:x} {mapping.Label}");
            Assert.Equal(Shape(other), Shape(forked.Template));
            Assert.Equal(StatusOf(other.Pid), StatusOf(forked.Template.Pid));
        }
    }

    [Fact]
    public void Without_its_parent_a_layer_is_built_alone_and_that_is_told()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(2, Cancellation);
        layers.Engine.Store.Remove("stage1");

        layers.CheckClone(layers.Source("stage2"), 2);

        var told = Assert.Single(layers.Unshared);
        Assert.Equal(("stage2", "stage1"), (told.Name, told.ParentName));
        Assert.Contains("is not in the store", told.Reason, StringComparison.Ordinal);
        Assert.Null(Assert.Single(layers.Engine.Engine.ListTemplates()).ParentDigest);
    }

    [Fact]
    public void A_parent_stays_as_long_as_its_layers_and_everything_goes_in_the_end()
    {
        using var layers = new LayerFixture(budgetBytes: 1, parkedClones: 1);
        layers.CreateStages(3, Cancellation);
        using var other = layers.Engine.Create(Cancellation, name: "other");
        var before = layers.Engine.Held(Cancellation);

        layers.CheckClone(layers.Source("stage3"), 3);
        Assert.Equal(3, layers.Engine.Engine.ListTemplates().Count);
        layers.Engine.Launch(other).Dispose();

        // The layer's went first, and then nobody needed the others.
        layers.CheckClone(layers.Source("stage1"), 1);
        var left = Assert.Single(layers.Engine.Engine.ListTemplates());
        Assert.Equal(layers.Engine.Store.Resolve("stage1").ToString(), left.Digest);
        layers.Engine.Engine.Drop(layers.Engine.Store.Resolve("stage1").ToString());
        Assert.Equal(before, layers.Engine.Held(Cancellation));
    }

    [Fact]
    public void A_parent_that_is_dropped_by_name_ends_with_its_last_layer()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(2, Cancellation);
        var before = layers.Engine.Held(Cancellation);
        layers.CheckClone(layers.Source("stage2"), 2);
        layers.Engine.Engine.Drop(layers.Engine.Store.Resolve("stage1").ToString());
        layers.CheckClone(layers.Source("stage2"), 2);
        Assert.Equal("stage2", Assert.Single(layers.Engine.Engine.ListTemplates()).Name);
        layers.Engine.Engine.Drop(layers.Engine.Store.Resolve("stage2").ToString());
        Assert.Equal(before, layers.Engine.Held(Cancellation));
    }

    [Fact]
    public void A_parent_killed_at_any_moment_of_a_fork_hangs_nobody_and_leaves_nothing_behind()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(2, Cancellation);
        layers.CheckClone(layers.Source("stage2"), 2);
        Drop();
        var before = layers.Engine.Held(Cancellation);
        var random = new Random(1);
        for (var round = 0; round < 30; round++)
        {
            using (var parent = layers.Engine.Engine.Use(layers.Source("stage1")))
            using (var victim = Pidfd.Open(parent.Template.Pid))
            {
                var spins = random.Next(round % 2 == 0 ? 100_000 : 1_500_000); // the fork comes early
                var killer = new Thread(() =>
                {
                    Thread.SpinWait(spins);
                    _ = Pidfd.SendSignal(victim, SIGKILL);
                });
                killer.Start();
                layers.CheckClone(layers.Source("stage2"), 2);
                killer.Join();
            }
            Drop();
        }
        Assert.True(layers.Unshared.Count > 0, "no fork was hit; the kill comes too late to test anything");
        Assert.Equal(before, layers.Engine.Held(Cancellation));

        void Drop()
        {
            foreach (var name in new[] { "stage2", "stage1" })
                layers.Engine.Engine.Drop(layers.Engine.Store.Resolve(name).ToString());
        }
    }

    [Fact]
    public void A_fork_that_is_killed_while_it_becomes_a_template_leaves_nothing_and_the_layer_is_built_alone()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(2, Cancellation);
        layers.CheckClone(layers.Source("stage2"), 2);
        Drop();
        using var parent = layers.Engine.Engine.Use(layers.Source("stage1"));
        var before = layers.Engine.Held(Cancellation);
        var random = new Random(2);
        for (var round = 0; round < 20; round++)
        {
            var known = EngineFixture.Children().ToHashSet();
            var spins = random.Next(400_000);
            var killer = new Thread(() =>
            {
                var born = 0;
                SpinWait.SpinUntil(() => (born = EngineFixture.Children().Find(pid => !known.Contains(pid))) != 0, TimeSpan.FromSeconds(10));
                Thread.SpinWait(spins);
                using var victim = Pidfd.Open(born);
                _ = Pidfd.SendSignal(victim, SIGKILL);
            });
            killer.Start();
            using (layers.Engine.Engine.Use(layers.Source("stage2")))
                killer.Join(); // It may have been killed as a template that stands: the next use builds another.
            Drop();
            Assert.Equal(before, layers.Engine.Held(Cancellation));
        }
        Assert.True(layers.Unshared.Count > 0, "no fork was hit while it was built");
        layers.CheckClone(layers.Source("stage2"), 2);

        void Drop() => layers.Engine.Engine.Drop(layers.Engine.Store.Resolve("stage2").ToString());
    }

    /// <summary>The steps of the parent's template that fork, and those of its child, each in turn become a system call that no kernel knows.</summary>
    [Fact]
    public void A_fork_for_a_layer_that_fails_at_any_entry_leaves_the_parent_as_it_was()
    {
        using var layers = new LayerFixture();
        layers.CreateStages(2, Cancellation);
        using var parent = layers.Engine.Engine.Use(layers.Source("stage1"));
        var program = parent.Template.Programs.Clone;
        var before = layers.Engine.Held(Cancellation);
        var first = Index("PID namespace of the farm");
        var last = Index("programs of the layer written");
        for (var index = first; index <= last; index++)
        {
            // The template's own report is its last word: that one dies of it is another test's.
            if (!program.Entries[index].IsSyscall || program.Entries[index].Subject is "report Forked" or "descriptors of the order" && index < Index("control socket of the layer's template"))
                continue;
            using (new EntryFault(program, parent.Template.Pid, index))
                layers.Engine.Engine.Use(layers.Source("stage2")).Dispose();
            Assert.NotEmpty(layers.Unshared[^1].Reason);
            layers.Engine.Engine.Drop(layers.Engine.Store.Resolve("stage2").ToString());
            Assert.Equal(before, layers.Engine.Held(Cancellation));
        }
        Assert.True(layers.Unshared.Count >= 6, $"only {layers.Unshared.Count} entries were tried");
        var alone = layers.Unshared.Count;
        layers.CheckClone(layers.Source("stage2"), 2);
        Assert.Equal(alone, layers.Unshared.Count);

        int Index(string subject) => Enumerable.Range(0, program.Entries.Count).First(index => program.Entries[index].Subject == subject);
    }

    private static void AssertSameMemory(SnapshotImage expected, SnapshotImage actual)
    {
        var (one, two) = (expected.Manifest.Processes[0], actual.Manifest.Processes[0]);
        Assert.Equal(one.Mappings.Select(mapping => (mapping.Start, mapping.End, mapping.Protection, mapping.Kind)), two.Mappings.Select(mapping => (mapping.Start, mapping.End, mapping.Protection, mapping.Kind)));
        var kernelWrites = one.Threads.Select(thread => thread.Rseq?.Address ?? 0).ToHashSet();
        foreach (var (first, second) in one.Mappings.Zip(two.Mappings))
        {
            var contents = (Contents(expected, first), Contents(actual, second));
            Assert.Equal(contents.Item1.Keys.Order(), contents.Item2.Keys.Order());
            foreach (var (page, bytes) in contents.Item1)
                Assert.True(Masked(bytes, page).AsSpan().SequenceEqual(Masked(contents.Item2[page], page)), $"page {page:x} of {first.Label}");
        }

        // The kernel notes there on which processor a thread runs: it ran between the two freezes.
        byte[] Masked(byte[] bytes, ulong page)
        {
            foreach (var address in kernelWrites.Where(address => address >= page && address < page + PageSize.Bytes))
                bytes.AsSpan((int)(address - page), 32).Clear();
            return bytes;
        }
    }

    private static Dictionary<ulong, byte[]> Contents(SnapshotImage image, Mapping mapping)
    {
        var pages = new Dictionary<ulong, byte[]>();
        foreach (var extent in mapping.Extents)
        {
            for (ulong i = 0; i < extent.PageCount; i++)
            {
                var page = new byte[PageSize.Bytes];
                image.Pages.Read(extent.BlobOffset + (i * PageSize.Bytes), page);
                pages.Add(mapping.Start + ((extent.PageIndex + i) * PageSize.Bytes), page);
            }
        }
        return pages;
    }

    private static byte[] ReadMemory(int pid, Mapping mapping)
    {
        var bytes = new byte[mapping.End - mapping.Start];
        using var memory = File.OpenHandle(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/mem"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        for (var done = 0; done < bytes.Length;)
        {
            try
            {
                done += RandomAccess.Read(memory, bytes.AsSpan(done), (long)mapping.Start + done);
            }
            catch (IOException)
            {
                break; // Behind the end of a file nothing can be read, in both.
            }
        }
        return bytes;
    }

    /// <summary>Protections and flags by page ranges; where the kernel divides mappings of the same kind depends on their history.</summary>
    private static List<string> Shape(Template template)
    {
        var plan = template.Programs.Plan.Whole;
        var shape = new List<(AddressRange Range, string Text)>();
        foreach (var entry in Smaps.Read(template.Pid).Where(entry => !plan.Contains(entry.Range) && entry.Range.End.Value <= PageSize.UserAddressLimit))
        {
            var text = $"{entry.Protection} {(entry.Path.StartsWith('[') ? string.Empty : entry.Path)} {string.Join(' ', entry.VmFlags.Where(flag => flag is not "sd").Order(StringComparer.Ordinal))}";
            if (shape.Count > 0 && shape[^1] is var last && last.Range.End == entry.Range.Start && last.Text == text)
                shape[^1] = (new AddressRange(last.Range.Start, entry.Range.End), text);
            else
                shape.Add((entry.Range, text));
        }
        return [.. shape.Select(part => $"{part.Range} {part.Text}")];
    }

    /// <summary>What a clone is handed on by the template and has no mapping.</summary>
    private static (ulong Ignored, ulong Caught, string Name, ulong Break, ulong Arguments) StatusOf(int pid)
    {
        var (status, stat) = (ProcStatus.Read(pid), ProcStat.Read(pid));
        return (status.Ignored, status.Caught, status.Name, stat.StartBrk.Value, stat.ArgStart.Value);
    }
}
