using System.Globalization;
using System.Text;
using BenchmarkDotNet.Attributes;
using Snapshots.Linux.Proc;

namespace Snapshots.HotPaths.Benchmarks;

/// <summary>Reading what /proc says of a process with 400 mappings: in every freeze, and while its threads stand still.</summary>
[MemoryDiagnoser]
public class ProcBenchmarks
{
    private const int Mappings = 400;
    private byte[][] _lines = [];
    private byte[] _smaps = [];

    [GlobalSetup]
    public void MakeTexts()
    {
        var heads = Enumerable.Range(0, Mappings).Select(Head).ToList();
        _lines = [.. heads.Select(Encoding.ASCII.GetBytes)];
        _smaps = Encoding.ASCII.GetBytes(string.Concat(heads.Select(head => head + "\n" + Fields)));
    }

    [Benchmark(OperationsPerInvoke = Mappings)]
    public ulong MapsLine()
    {
        ulong bytes = 0;
        foreach (var line in _lines)
            bytes += Maps.TryParse(line, out var entry) ? entry.Range.LengthBytes : throw new InvalidDataException("the sample is no line of maps");
        return bytes;
    }

    [Benchmark(OperationsPerInvoke = Mappings)]
    public int SmapsRecord() =>
        Smaps.TryParse(_smaps, out var entries) ? entries.Count : throw new InvalidDataException("the sample is no smaps file");

    private static string Head(int index) => string.Create(
        CultureInfo.InvariantCulture, $"{0x7f0000000000 + (index * 0x200000L):x}-{0x7f0000000000 + (index * 0x200000L) + 0x100000:x} r-xp 0001c000 fe:00 {index}                     /usr/lib/sample/library-{index}.so");

    private const string Fields = """
        Size:               1024 kB
        KernelPageSize:        4 kB
        MMUPageSize:           4 kB
        Rss:                 512 kB
        Pss:                  64 kB
        Pss_Dirty:             0 kB
        Shared_Clean:        512 kB
        Shared_Dirty:          0 kB
        Private_Clean:         0 kB
        Private_Dirty:         0 kB
        Referenced:          512 kB
        Anonymous:             0 kB
        KSM:                   0 kB
        LazyFree:              0 kB
        AnonHugePages:         0 kB
        ShmemPmdMapped:        0 kB
        FilePmdMapped:         0 kB
        Shared_Hugetlb:        0 kB
        Private_Hugetlb:       0 kB
        Swap:                  0 kB
        SwapPss:               0 kB
        Locked:                0 kB
        THPeligible:           0
        ProtectionKey:         0
        VmFlags: rd ex mr mw me sd

        """;
}
