using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Memory objects (memfds, shared anonymous memory): fork would share them between all clones, so each clone makes its own, fills it from
/// memory that it inherited privately, and maps it over the addresses where the application expects it.
/// </summary>
internal sealed class SharedMemoryCompiler(DescriptorStage stage, DescriptorScript script)
{
    private const uint MemfdCloseOnExec = 1;
    private const uint MemfdAllowSealing = 2;
    private const uint MemfdNoExecSeal = 8;
    private const int AddSeals = 1033;
    private const uint SealSeal = 1;
    private const uint SealWrite = 8;
    private const uint SealExec = 0x20;
    private const int SeekSet = 0;

    /// <summary>A single write(2) transfers at most 0x7ffff000 bytes; pieces stay below.</summary>
    private const ulong LargestWriteBytes = 1UL << 30;

    private readonly Dictionary<uint, long> _descriptorOf = [];

    /// <summary>Objects that only mappings refer to: their descriptor is closed as soon as they are mapped.</summary>
    public void CompileObjectsWithoutDescriptor()
    {
        var withDescriptor = stage.Process.OpenFiles
            .Where(file => file.KindCase == OpenFile.KindOneofCase.MemFd && script.WantedOf(file.Id).Any())
            .Select(file => file.MemFd.SharedMemory)
            .ToHashSet();
        foreach (var memory in stage.Manifest.SharedMemory.Where(memory => !withDescriptor.Contains(memory.Id)))
            script.Close(CreateObject(memory, script.NewTemporary(), closeOnExec: false), SubjectOf(memory));
    }

    /// <summary>An open file of a memory object: the object's first descriptor when it is read-write as memfd_create makes it, else a reopened one.</summary>
    public void CreateDescriptor(OpenFile file)
    {
        var memory = stage.Manifest.SharedMemory.FirstOrDefault(memory => memory.Id == file.MemFd.SharedMemory)
            ?? throw new InvalidDataException($"{script.SubjectOf(file)}: the image has no shared memory {file.MemFd.SharedMemory}");
        var isReadWrite = (file.StatusFlags & OpenFlags.AccessMode) == OpenFlags.ReadWrite;
        var isNew = !_descriptorOf.ContainsKey(memory.Id);
        if (isNew)
            CreateObject(memory, isReadWrite ? file.Id : script.NewTemporary(), isReadWrite && script.NextIsCloseOnExec(file.Id));
        var fd = script.Table.NumbersOf(_descriptorOf[memory.Id])[0];
        if (!isNew || !isReadWrite)
            fd = OpenFileCompiler.ReopenByNumber(script, file, fd);
        else if ((file.StatusFlags & OpenFlags.Settable) is not 0 and var flags)
            script.SetStatusFlags(fd, flags, script.SubjectOf(file));
        if (file.MemFd.OffsetBytes != 0)
            script.Builder.Syscall(SyscallNumber.Lseek, script.SubjectOf(file), fd, file.MemFd.OffsetBytes, SeekSet).ExpectValue((long)file.MemFd.OffsetBytes);
    }

    private static string SubjectOf(SharedMemory memory) => $"shared memory {memory.Id} ({memory.Name})";

    /// <summary>Makes the object under the descriptor <paramref name="token"/>, with contents, seals and mappings; returns the number.</summary>
    private int CreateObject(SharedMemory memory, long token, bool closeOnExec)
    {
        if (memory.Hugetlb)
            throw new InvalidDataException($"{SubjectOf(memory)}: memory objects of huge pages are not restored by this version");
        var subject = SubjectOf(memory);
        var flags = (closeOnExec ? MemfdCloseOnExec : 0) | SealingFlags(memory.Seals);
        var fd = script.Created(script.Builder.Syscall(SyscallNumber.MemfdCreate, subject, script.Builder.Text(memory.Name), flags), token, closeOnExec);
        _descriptorOf[memory.Id] = token;
        if (memory.SizeBytes != 0)
            script.Builder.Syscall(SyscallNumber.Ftruncate, subject, fd, memory.SizeBytes);
        Fill(memory, fd);
        // F_SEAL_WRITE is refused while a shared mapping could still become writable, and the frozen object had none; the other seals
        // may have been set under writable mappings, which could not be made after them.
        var sealFirst = (memory.Seals & SealWrite) != 0;
        if (sealFirst)
            Seal(memory, fd);
        foreach (var mapping in stage.Process.Mappings.Where(mapping => IsViewOf(mapping, memory)))
            Map(mapping, fd);
        if (!sealFirst)
            Seal(memory, fd);
        return fd;
    }

    private static uint SealingFlags(uint seals) =>
        (seals & SealExec) != 0 ? MemfdNoExecSeal : seals == SealSeal ? 0 : MemfdAllowSealing;

    private void Seal(SharedMemory memory, int fd)
    {
        // A memfd made without MFD_ALLOW_SEALING is sealed against sealing from its birth.
        if (memory.Seals is not (0 or SealSeal))
            script.Builder.Syscall(SyscallNumber.Fcntl, SubjectOf(memory), fd, AddSeals, memory.Seals);
    }

    private void Fill(SharedMemory memory, int fd)
    {
        for (var i = 0; i < memory.Extents.Count; i++)
        {
            var start = memory.Extents[i].PageIndex * PageSize.Bytes;
            var end = Math.Min(start + (memory.Extents[i].PageCount * PageSize.Bytes), memory.SizeBytes);
            var contents = stage.SharedContents(memory.Id, i);
            for (var offset = start; offset < end; offset += LargestWriteBytes)
            {
                var length = Math.Min(LargestWriteBytes, end - offset);
                script.Builder.Syscall(SyscallNumber.Pwrite64, SubjectOf(memory), fd, contents + (offset - start), length, offset).ExpectValue((long)length);
            }
        }
    }

    private static bool IsViewOf(Mapping mapping, SharedMemory memory) =>
        mapping.Kind is MappingKind.SharedMemory or MappingKind.PrivateSharedMemory && mapping.SharedMemory == memory.Id;

    private void Map(Mapping mapping, int fd)
    {
        const uint MapShared = 1, MapPrivate = 2, MapFixed = 0x10, MapNoReserve = 0x4000;
        var range = new AddressRange(new VirtualAddress(mapping.Start), new VirtualAddress(mapping.End));
        var subject = $"mapping {range} {mapping.Label}";
        var isPrivate = mapping.Kind == MappingKind.PrivateSharedMemory;
        var flags = (isPrivate ? MapPrivate : MapShared) | MapFixed | (mapping.VmFlags.Contains("nr") ? MapNoReserve : 0);
        var ownsPages = isPrivate && mapping.Extents.Count != 0;
        var protection = ownsPages ? mapping.Protection | Protection.Read | Protection.Write : mapping.Protection;
        script.Builder.Syscall(SyscallNumber.Mmap, subject, range.Start, range.LengthBytes, protection, flags, fd, mapping.FileOffset).ExpectValue((long)mapping.Start);
        for (var i = 0; ownsPages && i < mapping.Extents.Count; i++)
        {
            var destination = range.Start + (mapping.Extents[i].PageIndex * PageSize.Bytes);
            script.Builder.Copy(destination, stage.PrivateContents(mapping, i), mapping.Extents[i].PageCount * PageSize.Bytes, subject);
        }
        if (protection != mapping.Protection)
            script.Builder.Syscall(SyscallNumber.Mprotect, subject, range.Start, range.LengthBytes, mapping.Protection);
        Advise(mapping, range, subject);
    }

    /// <summary>The madvise(2) settings that smaps shows as VmFlags.</summary>
    private void Advise(Mapping mapping, AddressRange range, string subject)
    {
        foreach (var flag in mapping.VmFlags)
        {
            var advice = flag switch { "rr" => 1, "sr" => 2, "dc" => 10, "mg" => 12, "hg" => 14, "nh" => 15, "dd" => 16, _ => 0 };
            if (advice != 0)
                script.Builder.Syscall(SyscallNumber.Madvise, subject, range.Start, range.LengthBytes, advice);
        }
    }

    /// <summary>PROT_READ and PROT_WRITE.</summary>
    private static class Protection
    {
        public const uint Read = 1;
        public const uint Write = 2;
    }
}
