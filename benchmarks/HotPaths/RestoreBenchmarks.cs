using BenchmarkDotNet.Attributes;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;

namespace Snapshots.HotPaths.Benchmarks;

/// <summary>What the farm computes itself: both programs once for each image and host, a line for each clone.</summary>
[MemoryDiagnoser]
public class RestoreBenchmarks
{
    private static readonly CloneRequest Request = new()
    {
        Id = "0123456789ab",
        PayloadJson = """{"key":41,"words":["one","two","three"]}""",
        Environment = new Dictionary<string, string> { ["REGION"] = "north", ["TRACE"] = "1" },
    };

    private static readonly VirtualAddress FrameAddress = new(0x7f00_0000_0000);

    private readonly byte[] _registers = new byte[27 * sizeof(ulong)];
    private byte[] _xstate = [];
    private Manifest _manifest = new();
    private ForkDetectionPlan _forkDetection = null!;
    private ProgramLayout _layout = null!;

    [GlobalSetup]
    public void Make()
    {
        _manifest = SampleImage.Create();
        _forkDetection = ForkDetectionPlan.For(_manifest);
        _xstate = new byte[HostFacts.Current.XstateSizeBytes];
        var part = AddressRange.FromLength(FrameAddress, 1 << 20);
        _layout = new ProgramLayout(part, AddressRange.FromLength(part.End, 1 << 20), AddressRange.FromLength(part.End + (1 << 20), 1 << 20));
    }

    [Benchmark]
    public CompiledPrograms CompileBothPrograms() => CompiledPrograms.Compile(_manifest, _forkDetection);

    [Benchmark]
    public RestoreProgram BuildProgramOfHundredCalls()
    {
        var builder = new ProgramBuilder(_layout);
        for (var i = 0; i < 100; i++)
            builder.Syscall(SyscallNumber.Openat, "/usr/lib/sample.so", -100, builder.Text("/usr/lib/sample.so"), 0, 0).ExpectValue(i);
        return builder.Build();
    }

    [Benchmark]
    public byte[] SignalFrameOfOneThread() => SignalFrame.Build(FrameAddress, _registers, _xstate, signalMask: 0, (0, 2, 0));

    [Benchmark]
    public byte[] ChannelLine() => ChannelMessage.Encode(Request, generation: 7);
}
