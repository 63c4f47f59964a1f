using System.Buffers.Binary;
using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Layers;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Compiles the memory program, which turns a husk into the template; or, for a layer, a fork of its parent's template.
/// <code>
/// 1. Block signals, narrow our own protections, resource limits, keep only the control socket.
/// 2. Unmap everything that is not ours: the husk's ELF, stack and vDSO. A layer: what it does not have of its parent (LayerCompiler); only what is
///    new is mapped and filled in the next step.
/// 3. Map the vDSO and every mapping of the snapshot, with advice, anonymous memory in a staging area; report, and wait while the contents are
///    written from outside. Move what was staged to its addresses.
/// 4. Final protections, the address space's own numbers (PR_SET_MM_MAP), signal handlers and attributes that fork hands on.
/// 5. Continue with the clone program.
/// </code>
/// </summary>
internal sealed class MemoryCompiler(Manifest manifest, ProcessImage process, RegionPlan plan, StagingPlan staging, ControlBlock control, VirtualAddress cloneProgram, RestoreProgram clone, LayerPlan? layer)
{
    private const int PROT_READ = 1;
    private const int PROT_WRITE = 2;
    private const int PROT_EXEC = 4;
    private const int O_RDONLY_CLOEXEC = 0x80000;
    private const int O_RDWR_CLOEXEC = 0x80002;
    private const int AT_FDCWD = -100;

    /// <summary>Where the userfaultfd of a lazy template is until its memory is complete from the outside.</summary>
    public const int UserfaultDescriptor = 0;

    private readonly ProgramBuilder _builder = new(plan.MemoryLayout);
    private readonly IReadOnlyList<Mapping> _mappings = (layer?.Built ?? process).Mappings;

    /// <summary>Open a userfaultfd before the contents are written.</summary>
    public bool Lazy { get; init; }

    public RestoreProgram Compile()
    {
        EmitPrologue();
        if (layer is null)
            EmitEmptyAddressSpace();
        else
            new LayerCompiler(_builder, layer).EmitAddressSpace();
        EmitMappings();
        EmitAwaitContents();
        EmitMoves();
        EmitFinalProtections();
        EmitLayout();
        new AttributeCompiler(_builder, process).EmitInherited(layer?.Parent);
        ReportWriter.Emit(_builder, control, ReportTag.Ready);
        _builder.Syscall(SyscallNumber.CloseRange, "descriptors of the build", 0, control.ControlDescriptor - 1, 0);
        EmitGiveBackRoom();
        _builder.JumpTo(cloneProgram, "orders");
        return _builder.Build();
    }

    private void EmitEmptyAddressSpace()
    {
        _builder.Syscall(SyscallNumber.Munmap, "addresses below the program", 0, plan.Whole.Start);
        _builder.Syscall(SyscallNumber.Munmap, "addresses above the program", plan.Whole.End, PageSize.UserAddressLimit - plan.Whole.End.Value);
    }

    /// <summary>The protection during the build: contents of anonymous memory are written from outside through writable pages.</summary>
    public static uint BuildProtection(Mapping mapping) =>
        IsFilledThroughPages(mapping) ? PROT_READ | PROT_WRITE : mapping.Protection;

    /// <summary>Anonymous memory with contents; pages of file mappings are written through /proc/PID/mem instead, whatever their protection.</summary>
    public static bool IsFilledThroughPages(Mapping mapping) => mapping.Kind == MappingKind.PrivateAnonymous && mapping.Extents.Count > 0;

    public static string SubjectOf(Mapping mapping) =>
        string.Create(CultureInfo.InvariantCulture, $"mapping {mapping.Start:x}-{mapping.End:x} {mapping.Label}").TrimEnd();

    /// <summary>What the clone program did not need of its room: it would count against the limits of a clone until its last thread has left.</summary>
    private void EmitGiveBackRoom()
    {
        foreach (var (room, used) in new[] { (plan.CloneEntries, clone.EncodedEntries.Length), (plan.CloneData, clone.Data.Length) })
        {
            var rest = new AddressRange((room.Start + (ulong)used).AlignUp(PageSize.Bytes), room.End);
            if (!rest.IsEmpty)
                _builder.Syscall(SyscallNumber.Munmap, "room that the clone program does not need", rest.Start, rest.LengthBytes);
        }
    }

    private void EmitPrologue()
    {
        const int SIG_SETMASK = 2;
        _builder.Syscall(SyscallNumber.RtSigprocmask, "all signals blocked", SIG_SETMASK, _builder.Word(ulong.MaxValue), 0, 8);
        _builder.Syscall(SyscallNumber.Mprotect, "stub", plan.Stub.Start, plan.Stub.LengthBytes, PROT_READ | PROT_EXEC);
        _builder.Syscall(SyscallNumber.Mprotect, "signal frames", plan.Frames.Start, plan.Frames.LengthBytes, PROT_READ);
        if (plan.ForkIdentity.LengthBytes > 0)
            _builder.Syscall(SyscallNumber.Mprotect, "fork identity", plan.ForkIdentity.Start, plan.ForkIdentity.LengthBytes, PROT_READ | PROT_EXEC);
        _builder.Syscall(SyscallNumber.Mprotect, "programs", plan.CloneEntries.Start, plan.Whole.End - plan.CloneEntries.Start, PROT_READ | PROT_WRITE);
        new LimitCompiler(_builder, process, control.ControlDescriptor).EmitInTemplate();
        // Where the control socket ends up no descriptor of the snapshot is wanted; close-on-exec is moot, no program is ever executed here.
        _builder.Syscall(SyscallNumber.Dup2, "control socket", layer?.ParentControlDescriptor ?? Husk.InitialControlDescriptor, control.ControlDescriptor);
        _builder.Syscall(SyscallNumber.CloseRange, "inherited descriptors", 0, control.ControlDescriptor - 1, 0);
        _builder.Syscall(SyscallNumber.CloseRange, "inherited descriptors", control.ControlDescriptor + 1, uint.MaxValue, 0);
    }

    private void EmitMappings()
    {
        const int ARCH_MAP_VDSO_64 = 0x2003;
        foreach (var (area, noReserve) in staging.Areas)
            EmitMap("staging area", area, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS | (noReserve ? MAP_NORESERVE : 0), fd: -1, offset: 0);
        var descriptors = new Dictionary<(uint File, bool Writable), int>();
        foreach (var mapping in _mappings)
        {
            switch (mapping.Kind)
            {
                case MappingKind.PrivateAnonymous when staging.AddressOf(mapping) is not null:
                    break; // Comes from the staging area when it is filled.
                case MappingKind.Vdso:
                    _builder.Syscall(SyscallNumber.ArchPrctl, SubjectOf(mapping), ARCH_MAP_VDSO_64, mapping.Start);
                    break;
                case MappingKind.PrivateAnonymous:
                    EmitMap(mapping, fd: -1, offset: 0, MapFlags(mapping) | MAP_PRIVATE | MAP_ANONYMOUS);
                    break;
                case MappingKind.PrivateFile:
                    EmitMap(mapping, Open(descriptors, mapping.File, writable: false), mapping.FileOffset, MapFlags(mapping) | MAP_PRIVATE);
                    break;
                case MappingKind.SharedFile:
                    EmitMap(mapping, Open(descriptors, mapping.File, mapping.Has(VmFlags.MayWrite)), mapping.FileOffset, MapFlags(mapping) | MAP_SHARED);
                    break;
                case MappingKind.SharedMemory or MappingKind.PrivateSharedMemory:
                    break; // Each clone maps its own object; fork would share ours.
                default:
                    throw new RestoreUnsupportedException($"{SubjectOf(mapping)}: unknown kind {mapping.Kind}; the snapshot was written by a newer version");
            }
        }
    }

    private const uint MAP_SHARED = 1;
    private const uint MAP_PRIVATE = 2;
    private const uint MAP_ANONYMOUS = 0x20;
    private const uint MAP_GROWSDOWN = 0x100;
    private const uint MAP_NORESERVE = 0x4000;
    private const uint MAP_FIXED_NOREPLACE = 0x10_0000;

    private static uint MapFlags(Mapping mapping) =>
        MAP_FIXED_NOREPLACE | (mapping.Has(VmFlags.GrowsDown) ? MAP_GROWSDOWN : 0) | (mapping.Has(VmFlags.NoReserve) ? MAP_NORESERVE : 0);

    private void EmitMap(Mapping mapping, int fd, ulong offset, uint flags)
    {
        EmitMap(SubjectOf(mapping), RangeOf(mapping), BuildProtection(mapping), flags, fd, offset);
        EmitAdvice(mapping);
    }

    private void EmitMap(string subject, AddressRange range, uint protection, uint flags, int fd, ulong offset) =>
        _builder.Syscall(SyscallNumber.Mmap, subject, range.Start, range.LengthBytes, protection, flags, fd, offset).ExpectValue((long)range.Start.Value);

    private void EmitAdvice(Mapping mapping)
    {
        foreach (var (name, advice) in VmFlags.AdviceOf(mapping))
            _builder.Syscall(SyscallNumber.Madvise, $"{SubjectOf(mapping)} ({name})", mapping.Start, mapping.End - mapping.Start, advice);
        EmitName(mapping);
    }

    /// <summary>PR_SET_VMA_ANON_NAME of PR_SET_VMA(2const), Linux 5.17. Names inform only: a kernel without them (CONFIG_ANON_VMA_NAME) refuses and nothing is lost.</summary>
    private void EmitName(Mapping mapping)
    {
        const int PR_SET_VMA = 0x53564d41;
        const int PR_SET_VMA_ANON_NAME = 0;
        const string Prefix = "[anon:";
        if (!mapping.Label.StartsWith(Prefix, StringComparison.Ordinal) || !mapping.Label.EndsWith(']'))
            return;
        var name = _builder.Text(mapping.Label[Prefix.Length..^1]);
        _builder.Syscall(SyscallNumber.Prctl, SubjectOf(mapping), PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapping.Start, mapping.End - mapping.Start, name).IgnoreResult();
    }

    private void EmitMoves()
    {
        const int MREMAP_MAYMOVE = 1;
        const int MREMAP_FIXED = 2;
        foreach (var mapping in _mappings)
        {
            if (staging.AddressOf(mapping) is not { } staged)
                continue;
            var length = mapping.End - mapping.Start;
            _builder.Syscall(SyscallNumber.Mremap, SubjectOf(mapping), staged, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, mapping.Start).ExpectValue((long)mapping.Start);
            EmitAdvice(mapping);
        }
        foreach (var (area, _) in staging.Areas)
            _builder.Syscall(SyscallNumber.Munmap, "staging area", area.Start, area.LengthBytes);
        foreach (var mapping in layer?.Advised ?? [])
            EmitAdvice(mapping);
    }

    private static AddressRange RangeOf(Mapping mapping) => new(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End));

    /// <summary>Descriptors 0, 1, 2, … are free now, so the number of each open is known.</summary>
    private int Open(Dictionary<(uint File, bool Writable), int> descriptors, uint file, bool writable)
    {
        if (descriptors.TryGetValue((file, writable), out var known))
            return known;
        if (descriptors.Count == control.ControlDescriptor)
        {
            _builder.Syscall(SyscallNumber.CloseRange, "mapped files", 0, control.ControlDescriptor - 1, 0);
            descriptors.Clear();
        }
        var fd = descriptors.Count;
        var path = manifest.Files[(int)file].Path;
        _builder.Syscall(SyscallNumber.Openat, path, AT_FDCWD, _builder.Text(path), writable ? O_RDWR_CLOEXEC : O_RDONLY_CLOEXEC, 0).ExpectValue(fd);
        descriptors.Add((file, writable), fd);
        return fd;
    }

    private void EmitAwaitContents()
    {
        if (Lazy)
        {
            _builder.Syscall(SyscallNumber.CloseRange, "mapped files", 0, control.ControlDescriptor - 1, 0);
            _builder.Syscall(SyscallNumber.Userfaultfd, "missing pages", Userfaultfd.OpenFlags).ExpectValue(UserfaultDescriptor);
        }
        ReportWriter.Emit(_builder, control, ReportTag.Ready);
        _builder.Syscall(SyscallNumber.Read, "contents written", control.ControlDescriptor, control.OrderId, sizeof(ulong)).ExpectValue(sizeof(ulong));
    }

    private void EmitFinalProtections()
    {
        if (layer is not null)
            new LayerCompiler(_builder, layer).EmitProtections();
        foreach (var mapping in _mappings.Where(IsFilledThroughPages))
        {
            if (mapping.Protection != BuildProtection(mapping))
                _builder.Syscall(SyscallNumber.Mprotect, SubjectOf(mapping), mapping.Start, mapping.End - mapping.Start, mapping.Protection);
        }
    }

    /// <summary>PR_SET_MM_MAP of prctl(2): brk, arguments, environment, auxiliary vector and executable at once.</summary>
    private void EmitLayout()
    {
        const int PR_SET_MM = 35;
        const int PR_SET_MM_MAP = 14;
        const int SizeBytes = 104;
        _builder.Syscall(SyscallNumber.CloseRange, "mapped files", 0, control.ControlDescriptor - 1, 0);
        var executable = manifest.Files[(int)process.ExeFile].Path;
        // A layer runs its parent's, and the kernel refuses to set what is mapped (EBUSY).
        if (layer is null)
            _builder.Syscall(SyscallNumber.Openat, executable, AT_FDCWD, _builder.Text(executable), O_RDONLY_CLOEXEC, 0).ExpectValue(0);
        var layout = process.Layout;
        Span<byte> map = stackalloc byte[SizeBytes];
        ReadOnlySpan<ulong> words =
        [
            layout.StartCode, layout.EndCode, layout.StartData, layout.EndData, layout.StartBrk, layout.Brk, layout.StartStack,
            layout.ArgStart, layout.ArgEnd, layout.EnvStart, layout.EnvEnd, _builder.Data(layout.Auxv.Span).Value,
        ];
        for (var i = 0; i < words.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(map[(8 * i)..], words[i]);
        BinaryPrimitives.WriteInt32LittleEndian(map[96..], layout.Auxv.Length);
        BinaryPrimitives.WriteInt32LittleEndian(map[100..], layer is null ? 0 : -1); // exe_fd: the descriptor just opened, or none
        _builder.Syscall(SyscallNumber.Prctl, $"address space layout, {executable}", PR_SET_MM, PR_SET_MM_MAP, _builder.Data(map), SizeBytes, 0);
    }
}
