using Google.Protobuf;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Tests.Descriptors;

/// <summary>Writes small images by hand: one open file at a time, each wanted at some numbers.</summary>
internal sealed class TestImage
{
    public Manifest Manifest { get; } = new();

    public ProcessImage Process { get; } = new();

    public TestImage() => Manifest.Processes.Add(Process);

    public OpenFile Add(OpenFile file, params int[] numbers)
    {
        file.Id = (uint)Process.OpenFiles.Count + 1;
        Process.OpenFiles.Add(file);
        foreach (var number in numbers)
            Process.Descriptors.Add(new DescriptorEntry { Fd = (uint)number, OpenFile = file.Id });
        return file;
    }

    public OpenFile Regular(string path, params int[] numbers)
    {
        Manifest.Files.Add(new FileIdentity { Path = path });
        return Add(new OpenFile { Regular = new RegularFile { File = (uint)Manifest.Files.Count - 1 } }, numbers);
    }

    /// <summary>An external of a role of its own; the compiler does not care which roles there are.</summary>
    public OpenFile External(params int[] numbers) =>
        Add(new OpenFile { External = new External { Role = (ExternalRole)(Process.OpenFiles.Count + 1), Kind = ExternalKind.ExternalPipe } }, numbers);

    public OpenFile EventFd(ulong counter, params int[] numbers) => Add(new OpenFile { EventFd = new EventFd { Counter = counter } }, numbers);

    public uint Pipe(string contents)
    {
        var pipe = new Pipe { Id = (uint)Process.Pipes.Count + 1, CapacityBytes = 65536, Contents = ByteString.CopyFromUtf8(contents) };
        Process.Pipes.Add(pipe);
        return pipe.Id;
    }

    public OpenFile PipeEnd(uint pipe, bool write, params int[] numbers) =>
        Add(new OpenFile { StatusFlags = write ? 1u : 0, Pipe = new PipeEnd { Pipe = pipe, Write = write } }, numbers);

    public OpenFile Epoll(params int[] numbers) => Add(new OpenFile { Epoll = new Epoll() }, numbers);

    public static void Watch(OpenFile epoll, OpenFile watched, int number) => epoll.Epoll.Interests.Add(
        new EpollInterest { Fd = (uint)number, OpenFile = watched.Id, Events = 1, Data = ((ulong)watched.Id << 32) | (uint)number });

    /// <summary>Compiles the image and runs it on the model, which is returned.</summary>
    public ModelKernel Run(int? controlDescriptor = null)
    {
        var control = controlDescriptor ?? DescriptorCompiler.LowestControlDescriptor(Process);
        var externals = ExternalPlan.For(Process).Select(slot => new ModelKernel.Description($"external {slot.OpenFile}"));
        var kernel = new ModelKernel(Compile(control), [.. externals]);
        kernel.Table.Add(control, (new ModelKernel.Description("control"), true));
        kernel.Run();
        return kernel;
    }

    public RestoreProgram Compile(int controlDescriptor)
    {
        var builder = new ProgramBuilder(new ProgramLayout(Range(0x10000, 0x1000), Range(0x20000, 0x100000), Range(0x200000, 0x100000)));
        var descriptors = new DescriptorCompiler(new DescriptorStage
        {
            Builder = builder,
            Manifest = Manifest,
            Process = Process,
            ControlDescriptor = controlDescriptor,
            SharedContents = (_, _) => new VirtualAddress(0x500000),
            PrivateContents = (_, _) => new VirtualAddress(0x600000),
        });
        descriptors.CompileAhead();
        builder.Syscall(SyscallNumber.Recvmsg, "start order", controlDescriptor, 0, 0);
        descriptors.CompileRest();
        return builder.Build();
    }

    private static AddressRange Range(ulong start, ulong lengthBytes) => AddressRange.FromLength(new VirtualAddress(start), lengthBytes);
}
