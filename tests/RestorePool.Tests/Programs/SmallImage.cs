using Google.Protobuf;
using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Tests.Programs;

/// <summary>The least manifest that both programs can be compiled from: one thread, one mapping, no descriptors.</summary>
internal static class SmallImage
{
    private const int RegistersBytes = 27 * 8;
    private const int XstateBytes = 512 + 64;

    public static Manifest Create()
    {
        var process = new ProcessImage
        {
            Pid = 2,
            Name = "small",
            WorkingDirectory = "/",
            Layout = new AddressSpaceLayout(),
            Threads = { new ThreadImage { Tid = 2, Name = "small", Registers = Zeros(RegistersBytes), Xstate = Zeros(XstateBytes) } },
            Mappings = { new Mapping { Start = 0x7000_0000_0000, End = 0x7000_0000_1000, Protection = 3, Kind = MappingKind.PrivateAnonymous } },
        };
        return new Manifest { Processes = { process }, Files = { new FileIdentity { Path = "/bin/small" } } };
    }

    private static ByteString Zeros(int length) => ByteString.CopyFrom(new byte[length]);
}
