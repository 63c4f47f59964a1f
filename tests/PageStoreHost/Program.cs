using System.Globalization;
using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore;
using Snapshots.PageStore.Maintenance;
using Snapshots.PageStore.Tests;

// A process that works on a store until it has done so many rounds or is killed: PageStoreHost STORE PREFIX FIRST-NUMBER ROUNDS.
// Each round makes an image, and now and then removes one or collects garbage. Before and after each step it says what it is about to do or has done.
var store = SnapshotStore.Open(args[0], new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
var first = int.Parse(args[2], CultureInfo.InvariantCulture);
var rounds = int.Parse(args[3], CultureInfo.InvariantCulture);
var random = new Random(first);
for (var number = first; number < first + rounds; number++)
{
    using (var writer = store.Images.CreateWriter())
        TestImages.Commit(writer, $"{args[1]}-{number}", TestImages.Memory(number, 96));
    Say($"made {args[1]}-{number}");
    if (random.Next(3) == 0)
    {
        var old = random.Next(first, number + 1);
        Say($"removing {args[1]}-{old}");
        try
        {
            store.Images.Remove($"{args[1]}-{old}");
        }
        catch (ImageException gone) when (gone.Failure == ImageFailure.NotFound)
        {
            // Removed in an earlier round.
        }
    }
    if (random.Next(3) == 0)
    {
        Say("collecting");
        GarbageCollection.Run(store);
    }
}
Say("done");

static void Say(string line)
{
    Console.Out.WriteLine(line);
    Console.Out.Flush();
}
