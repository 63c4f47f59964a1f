using BenchmarkDotNet.Attributes;
using Google.Protobuf;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Images.Validation;

namespace Snapshots.HotPaths.Benchmarks;

/// <summary>Opening an image, and telling pages of zeros from others while one is written.</summary>
[MemoryDiagnoser]
public class ImageBenchmarks
{
    private const int Pages = 256;
    private readonly byte[] _pages = new byte[Pages * (int)PageSize.Bytes];
    private byte[] _manifest = [];

    [GlobalSetup]
    public void Make()
    {
        _manifest = SampleImage.Create().ToByteArray();
        // Runs of eight pages: zeros, then pages whose only other byte is the last, which is the longest to find.
        for (var page = 0; page < Pages; page++)
            _pages[((page + 1) * (int)PageSize.Bytes) - 1] = (byte)(page / 8 % 2);
    }

    [Benchmark]
    public Manifest ParseAndValidate()
    {
        var manifest = Manifest.Parser.ParseFrom(_manifest);
        ManifestValidator.Validate(manifest, "benchmark");
        return manifest;
    }

    [Benchmark(OperationsPerInvoke = Pages)]
    public int ZeroPages()
    {
        var runs = 0;
        for (var page = 0; page < Pages; runs++)
            page += PageZeros.RunLength(_pages.AsSpan(page * (int)PageSize.Bytes), out _);
        return runs;
    }
}
