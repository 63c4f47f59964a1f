using System.Diagnostics;
using K4os.Compression.LZ4;
using Snapshots.Images;
using Snapshots.Linux.Syscalls;
using Snapshots.PageStore;
using Snapshots.PageStore.Packs;

// Measures the page store on the pages of a real snapshot, on one core, contents in the page cache: PageStore.Benchmarks STORE NAME.
// Every figure is the best of several rounds; rates count uncompressed pages.
// PageStore.Benchmarks remote STORE NAME [PAGES] reads an image whose packs lie in an object store (RemoteReads); PageStore.Benchmarks make STORE NAME MEBIBYTES makes one.
const int Rounds = 7;
const int PieceBytes = 4 << 20;

if (args is ["remote", var remoteStore, var remoteName, .. var count] && (count is [] || int.TryParse(count[0], out _)))
    return RemoteReads.Run(remoteStore, remoteName, count is [var text] ? int.Parse(text, System.Globalization.CultureInfo.InvariantCulture) : 500);
if (args is ["make", var madeStore, var madeName, var size] && int.TryParse(size, out var mebibytes))
    return MadeImage.Run(madeStore, madeName, mebibytes);
if (args is not [var directory, var name])
{
    Console.Error.WriteLine("usage: PageStore.Benchmarks STORE NAME | remote STORE NAME [PAGES] | make STORE NAME MEBIBYTES");
    return 2;
}
var store = SnapshotStore.Open(directory, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
using var image = store.Images.OpenImage(name);
var piece = new byte[PieceBytes];
var pages = new byte[image.Pages.LengthBytes];
image.Pages.Read(0, pages);
Console.WriteLine($"{name}: {pages.Length >> 20} MiB of pages");

Console.WriteLine();
Console.WriteLine("frame    stored   compress    decompress   checksum    one page");
foreach (var perFrame in new[] { 1, 2, 4, 8, 16 })
    MeasureFrames(perFrame);

Console.WriteLine();
var fill = Best(() =>
{
    for (ulong at = 0; at < image.Pages.LengthBytes; at += PieceBytes)
        image.Pages.Read(at, piece.AsSpan(0, (int)Math.Min(PieceBytes, image.Pages.LengthBytes - at)));
});
var frames = Compress(PageStoreLimits.PagesPerFrame);
var plain = Decompress(frames, PageStoreLimits.PagesPerFrame);
var checksum = Checksum(frames);
Console.WriteLine($"fill in 4 MiB pieces, verified   {Rate(fill)}");
Console.WriteLine($"plain LZ4 of the same frames     {Rate(plain)}: a fill takes {fill / plain:F2} times as long");
Console.WriteLine($"checksums alone                  {100 * checksum / fill:F1} % of a fill");
MeasureSinglePages();
MeasureWriting();
return 0;

void MeasureFrames(int perFrame)
{
    List<byte[]> compressed = [];
    var compress = Best(() => compressed = Compress(perFrame), 3);
    var decompress = Decompress(compressed, perFrame);
    var stored = compressed.Sum(frame => (long)frame.Length);
    Console.WriteLine($"{perFrame * 4,3} KiB   {(double)stored / pages.Length,6:P1}   {Rate(compress)}   {Rate(decompress)}   {100 * Checksum(compressed) / decompress,5:F1} %    {decompress * 1e6 / compressed.Count,6:F2} µs");
}

List<byte[]> Compress(int perFrame)
{
    var raw = perFrame * PageStoreLimits.PageBytes;
    var buffer = new byte[raw];
    var found = new List<byte[]>(pages.Length / raw);
    for (var at = 0; at + raw <= pages.Length; at += raw)
        found.Add(buffer[..FrameCodec.Compress(pages.AsSpan(at, raw), buffer)]);
    return found;
}

double Decompress(List<byte[]> frames, int perFrame)
{
    var raw = perFrame * PageStoreLimits.PageBytes;
    return Best(() =>
    {
        var at = 0;
        foreach (var frame in frames)
        {
            // Not by way of FrameCodec: this is what ours is held against.
            if (frame.Length == raw)
                frame.CopyTo(piece.AsSpan(at));
            else if (LZ4Codec.Decode(frame, piece.AsSpan(at, raw)) != raw)
                throw new InvalidDataException("does not decompress");
            at = at + (2 * raw) <= PieceBytes ? at + raw : 0;
        }
    });
}

static double Checksum(List<byte[]> frames)
{
    UInt128 sum = 0;
    var seconds = Best(() => frames.ForEach(frame => sum ^= FrameCodec.Checksum(frame)));
    GC.KeepAlive(sum);
    return seconds;
}

void MeasureSinglePages()
{
    var random = new Random(1);
    var order = Enumerable.Range(0, 20_000).Select(_ => (ulong)random.Next(pages.Length / PageStoreLimits.PageBytes) * PageStoreLimits.PageBytes).ToArray();
    var seconds = Best(() => Array.ForEach(order, at => image.Pages.Read(at, piece.AsSpan(0, PageStoreLimits.PageBytes))), 3);
    Console.WriteLine($"single pages in random order     {seconds * 1e6 / order.Length:F1} µs each");
}

void MeasureWriting()
{
    using var scratch = new Scratch();
    var written = SnapshotStore.Open(scratch.Path, new StoreFiles(DirectoryFlush.Sync, FileLock.Acquire));
    foreach (var round in new[] { "first", "again" })
    {
        var clock = Stopwatch.StartNew();
        using var writer = written.Images.CreateWriter();
        for (var at = 0; at < pages.Length; at += PieceBytes)
            writer.AppendWithZeros((ulong)at / PageStoreLimits.PageBytes, pages.AsSpan(at, Math.Min(PieceBytes, pages.Length - at)), []);
        var appended = clock.Elapsed.TotalSeconds;
        var manifest = image.Manifest.Clone();
        writer.Commit(round, manifest);
        Console.WriteLine($"write, {round}                     {Rate(clock.Elapsed.TotalSeconds)} on all cores with the disk; handed over at {Rate(appended)}");
    }
}

static double Best(Action action, int rounds = Rounds)
{
    var best = double.MaxValue;
    for (var round = 0; round < rounds; round++)
    {
        var clock = Stopwatch.StartNew();
        action();
        best = Math.Min(best, clock.Elapsed.TotalSeconds);
    }
    return best;
}

string Rate(double seconds) => $"{pages.Length / seconds / 1e6,6:F0} MB/s";

internal sealed class Scratch : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-bench-");

    public string Path => _directory.FullName;

    public void Dispose() => _directory.Delete(recursive: true);
}
