using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore;

/// <summary>An image of no process, for measurements that need pages and nothing else: as many as are wanted, of which three quarters do not compress.</summary>
internal static class MadeImage
{
    private const int PieceBytes = 4 << 20;

    public static int Run(string directory, string name, int mebibytes)
    {
        var store = SnapshotStore.Open(directory, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
        using var writer = store.Images.CreateWriter();
        var manifest = Describe((ulong)mebibytes << 20);
        var extents = manifest.Processes[0].Mappings[0].Extents;
        var random = new Random(1);
        var piece = new byte[PieceBytes];
        for (long at = 0; at < (long)mebibytes << 20; at += PieceBytes)
        {
            for (var page = 0; page < PieceBytes; page += PageStoreLimits.PageBytes)
                random.NextBytes(piece.AsSpan(page, PageStoreLimits.PageBytes * 3 / 4));
            writer.Append((ulong)at / PageStoreLimits.PageBytes, piece.AsSpan(0, (int)Math.Min(PieceBytes, ((long)mebibytes << 20) - at)), extents);
        }
        Console.WriteLine($"{name} {writer.Commit(name, manifest)}");
        return 0;
    }

    private static Manifest Describe(ulong bytes)
    {
        var process = new ProcessImage { Pid = 100, Name = "made" };
        process.Threads.Add(new ThreadImage { Tid = 100, Registers = ByteString.CopyFrom(new byte[216]), Xstate = ByteString.CopyFrom(new byte[832]) });
        process.Mappings.Add(new Mapping { Start = 0x10000, End = 0x10000 + bytes, Protection = 3, Kind = MappingKind.PrivateAnonymous });
        var manifest = new Manifest { CreatedUnixMs = 1_700_000_000_000 };
        manifest.Files.Add(new FileIdentity { Path = "/usr/bin/made" });
        manifest.Processes.Add(process);
        return manifest;
    }
}
