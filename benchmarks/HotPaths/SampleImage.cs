using Google.Protobuf;
using Snapshots.AddressSpace;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.HotPaths.Benchmarks;

/// <summary>
/// A manifest of the size of a Node server's: hundreds of mappings, several threads, dozens of descriptors. Made in memory, always the same but for
/// the host's own vector state, and accepted by the rules of the format.
/// </summary>
internal static class SampleImage
{
    private const int MappingCount = 400;
    private const int ThreadCount = 8;
    private const int FileCount = 30;
    private const int EventCount = 20;
    private const uint Pid = 2;
    private const ulong FirstAddress = 0x7f00_0000_0000;
    private const ulong MappingBytes = 1 << 20;

    public static Manifest Create()
    {
        var process = new ProcessImage
        {
            Pid = Pid,
            Name = "sample",
            SessionId = Pid,
            ProcessGroupId = Pid,
            WorkingDirectory = "/",
            RootDirectory = "/",
            Layout = new AddressSpaceLayout { Auxv = Zeros(336) },
        };
        var manifest = new Manifest { FormatVersion = ImageLimits.FormatVersion, Processes = { process } };
        AddFiles(manifest, process);
        AddMappings(manifest, process);
        AddThreads(process);
        AddEvents(process);
        return manifest;
    }

    private static void AddFiles(Manifest manifest, ProcessImage process)
    {
        for (uint i = 0; i < FileCount; i++)
        {
            manifest.Files.Add(new FileIdentity { Path = $"/usr/lib/sample/library-{i}.so", SizeBytes = MappingBytes });
            process.OpenFiles.Add(new OpenFile { Id = i + 1, Regular = new RegularFile { File = i }, Description = manifest.Files[(int)i].Path });
            process.Descriptors.Add(new DescriptorEntry { Fd = i, OpenFile = i + 1 });
        }
    }

    /// <summary>Three of four are of files, as in a process with many libraries; the others hold pages of their own.</summary>
    private static void AddMappings(Manifest manifest, ProcessImage process)
    {
        const ulong PagesEach = 200;
        ulong pages = 0;
        for (var i = 0; i < MappingCount; i++)
        {
            var start = FirstAddress + ((ulong)i * 2 * MappingBytes);
            var mapping = new Mapping { Start = start, End = start + MappingBytes, VmFlags = { "rd", "mr", "mw", "me" } };
            if (i % 4 != 0)
            {
                (mapping.Kind, mapping.File, mapping.Protection) = (MappingKind.PrivateFile, (uint)(i % FileCount), 1);
                mapping.Label = manifest.Files[(int)mapping.File].Path;
            }
            else
            {
                (mapping.Kind, mapping.Protection) = (MappingKind.PrivateAnonymous, 3);
                mapping.Extents.Add(new PageExtent { PageIndex = 0, PageCount = PagesEach, BlobOffset = pages * PageSize.Bytes });
                pages += PagesEach;
            }
            process.Mappings.Add(mapping);
        }
        manifest.Pages = new PageBlob { Sha256 = Zeros(32), LengthBytes = pages * PageSize.Bytes, SegmentBytes = 1 << 20 };
        for (ulong segment = 0; segment < manifest.Pages.LengthBytes; segment += manifest.Pages.SegmentBytes)
            manifest.Pages.SegmentSha256.Add(Zeros(32));
    }

    private static void AddThreads(ProcessImage process)
    {
        for (uint i = 0; i < ThreadCount; i++)
        {
            process.Threads.Add(new ThreadImage
            {
                Tid = Pid + i,
                Name = i == 0 ? "sample" : $"worker-{i}",
                Registers = Zeros(ImageLimits.RegistersBytes),
                Xstate = Zeros((int)HostFacts.Current.XstateSizeBytes),
                RobustListHead = FirstAddress,
                RobustListLength = 24,
                Rseq = new Rseq { Address = FirstAddress, LengthBytes = 32, Signature = 0x53053053 },
                AlternateStack = new AlternateStack(),
                TimerSlackNs = 50_000,
            });
        }
    }

    private static void AddEvents(ProcessImage process)
    {
        for (uint i = 0; i < EventCount; i++)
        {
            var id = FileCount + i + 1;
            process.OpenFiles.Add(new OpenFile { Id = id, EventFd = new EventFd { Counter = i }, Description = "eventfd" });
            process.Descriptors.Add(new DescriptorEntry { Fd = FileCount + i, OpenFile = id });
        }
    }

    private static ByteString Zeros(int length) => ByteString.CopyFrom(new byte[length]);
}
