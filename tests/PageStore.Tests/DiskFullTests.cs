using System.Diagnostics;
using Snapshots.Images;
using Snapshots.PageStore.Maintenance;
using Xunit;

namespace Snapshots.PageStore.Tests;

/// <summary>A store on a file system of two megabytes.</summary>
public sealed class DiskFullTests : IDisposable
{
    private readonly DirectoryInfo _mount = Directory.CreateTempSubdirectory("snapshots-full-");

    public DiskFullTests() => Run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", _mount.FullName);

    [Fact]
    public void A_full_disk_is_said_and_costs_nothing_that_was_there()
    {
        var store = SnapshotStore.Open(Path.Combine(_mount.FullName, "store"), TestStore.Files);
        Create(store, "kept", 40);
        // From what cannot begin to fit to what lacks room for its last file: whichever write is refused.
        for (var pages = 900; pages >= 300; pages -= 10)
        {
            try
            {
                Create(store, "large", pages);
                break;
            }
            catch (ImageException refused)
            {
                Assert.Equal(ImageFailure.WriteFailed, refused.Failure);
                Assert.Contains("free space", refused.Message, StringComparison.Ordinal);
            }
            Assert.Equal("kept", Assert.Single(store.Images.List()).Name);
            Assert.Equal([.. Seeds("kept", 40)], TestImages.Read(store.Images, "kept"));
            Assert.Single(Directory.GetFiles(Path.Combine(store.Images.Root, "domains", "default", "packs")));
            Assert.Empty(Directory.GetFiles(Path.Combine(store.Images.Root, "domains", "default", "incoming")));
        }
        Assert.Equal(2, store.Images.List().Count);
        Assert.Empty(StoreCheck.Run(store, repair: false).Problems);
        // Room can be made on the full disk.
        store.Images.Remove("large");
        GarbageCollection.Run(store);
        Create(store, "small", 40);
    }

    public void Dispose()
    {
        Run("umount", _mount.FullName);
        _mount.Delete();
    }

    private static void Create(SnapshotStore store, string name, int pages)
    {
        using var writer = store.Images.CreateWriter();
        TestImages.Commit(writer, name, Seeds(name, pages), piecePages: 16);
    }

    private static byte[] Seeds(string name, int pages) => TestImages.Pages(Enumerable.Range(0, pages).Select(i => (name.Length * 10_001) + (2 * i)));

    internal static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
