using System.Buffers.Binary;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux.Syscalls;

namespace Snapshots.RestorePool.Elf;

/// <summary>
/// Reads the few tables of an x86-64 ELF file (elf(5)) by which symbols and their relocations are found. Whatever the file's size, memory use is
/// a buffer: tables are streamed, and names are compared by their place in the string table.
/// <code>
///   ELF header        e_type 16  e_machine 18  e_phoff 32  e_shoff 40  e_phentsize 54  e_phnum 56  e_shentsize 58  e_shnum 60
///   program headers   p_type 0  p_flags 4  p_offset 8  p_vaddr 16  p_filesz 32                      56 bytes each
///   section headers   sh_type 4  sh_offset 24  sh_size 32  sh_link 40                               64 bytes each
///   symbols           st_name 0  st_info 4  st_shndx 6  st_value 8  st_size 16                      24 bytes each
///   relocations       r_offset 0  r_info 8 (symbol index &lt;&lt; 32 | type)                             24 bytes each
/// </code>
/// </summary>
/// <remarks>
/// Every offset and length is checked against the file before it is used; a file may also change or shrink while it is read. Files without section
/// headers have no tables here. Not thread-safe.
/// </remarks>
internal sealed class ElfFile : IDisposable
{
    private const int HeaderBytes = 64;
    private const int ProgramHeaderBytes = 56;
    private const int SymbolBytes = 24;
    private const int RelocationBytes = 24;
    private const int BufferBytes = SymbolBytes * 8192;

    /// <summary>Places of names, and matches of one search; honest files have a few.</summary>
    private const int MaximumMatches = 256;

    /// <summary>Time that a hostile file can cost; symbol tables of the largest programs have a fifth of it.</summary>
    private const ulong MaximumTableBytes = 1UL << 30;

    private readonly SafeFileHandle _file;
    private readonly long _lengthBytes;
    private readonly List<ElfSegment> _segments = [];
    private readonly List<ElfSection> _sections = [];

    private ElfFile(string path, SafeFileHandle file)
    {
        Path = path;
        _file = file;
        _lengthBytes = RandomAccess.GetLength(file);
    }

    public string Path { get; }

    /// <summary>PT_LOAD, in their order.</summary>
    public IReadOnlyList<ElfSegment> Segments => _segments;

    /// <summary>PT_INTERP: a dynamically linked program, or one of the few libraries that can be run as one.</summary>
    public bool HasInterpreter { get; private set; }

    /// <summary>The file at <paramref name="path"/>; null when it is no x86-64 program or shared object.</summary>
    /// <exception cref="ElfFormatException">It is one and is malformed.</exception>
    /// <exception cref="Linux.LinuxException">It cannot be opened.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ElfFile? Open(string path)
    {
        var elf = new ElfFile(path, OpenPath.ReadOnly(path));
        try
        {
            if (elf.ReadHeaders())
                return elf;
        }
        catch
        {
            elf.Dispose();
            throw;
        }
        elf.Dispose();
        return null;
    }

    public void Dispose() => _file.Dispose();

    /// <summary>Symbols of <paramref name="table"/> that have one of <paramref name="names"/>; none when the file has no such table.</summary>
    public List<ElfSymbol> FindSymbols(ElfSymbolTable table, params ReadOnlySpan<string> names)
    {
        var found = new List<ElfSymbol>();
        foreach (var section in _sections.Where(section => section.Type == (uint)table))
        {
            var places = FindNames(SectionAt(section.Link), names);
            if (places.Count == 0)
                continue;
            uint index = 0;
            Stream(section, SymbolBytes, "symbols", records =>
            {
                for (; !records.IsEmpty; records = records[SymbolBytes..], index++)
                {
                    if (places.TryGetValue(BinaryPrimitives.ReadUInt32LittleEndian(records), out var name))
                        Add(found, ParseSymbol(name, index, records));
                }
            });
        }
        return found;
    }

    /// <summary>How many names of functions stand for the code at <paramref name="value"/>; more than one when a linker merged functions with the same code.</summary>
    public int CountFunctionNames(ElfSymbolTable table, ulong value)
    {
        var names = new HashSet<uint>();
        foreach (var section in _sections.Where(section => section.Type == (uint)table))
        {
            Stream(section, SymbolBytes, "symbols", records =>
            {
                for (; !records.IsEmpty; records = records[SymbolBytes..])
                {
                    if (BinaryPrimitives.ReadUInt64LittleEndian(records[8..]) == value && IsFunction(records) && names.Count < MaximumMatches)
                        names.Add(BinaryPrimitives.ReadUInt32LittleEndian(records));
                }
            });
        }
        return names.Count;
    }

    /// <summary>Virtual addresses of the words that the loader fills with the address of an imported function: GLOB_DAT and JUMP_SLOT relocations.</summary>
    /// <param name="symbolIndex">In <see cref="ElfSymbolTable.Dynamic"/>.</param>
    public List<ulong> FindAddressWords(uint symbolIndex)
    {
        const uint SHT_RELA = 4;
        const uint R_X86_64_GLOB_DAT = 6;
        const uint R_X86_64_JUMP_SLOT = 7;
        var found = new List<ulong>();
        // Relocations of relocatable input that a linker was asked to keep (--emit-relocs) name the other table.
        foreach (var section in _sections.Where(section => section.Type == SHT_RELA && IsDynamicSymbols(section.Link)))
        {
            Stream(section, RelocationBytes, "relocations", records =>
            {
                for (; !records.IsEmpty; records = records[RelocationBytes..])
                {
                    var info = BinaryPrimitives.ReadUInt64LittleEndian(records[8..]);
                    if (info >> 32 == symbolIndex && (uint)info is R_X86_64_GLOB_DAT or R_X86_64_JUMP_SLOT)
                        Add(found, BinaryPrimitives.ReadUInt64LittleEndian(records));
                }
            });
        }
        return found;
    }

    /// <summary>Where the byte at a virtual address lies in the file; false for an address that no segment fills from the file.</summary>
    public bool TryGetFileOffset(ulong virtualAddress, out ulong fileOffset, out ElfSegment segment)
    {
        foreach (var candidate in _segments)
        {
            if (virtualAddress < candidate.VirtualAddress || virtualAddress - candidate.VirtualAddress >= candidate.FileBytes)
                continue;
            segment = candidate;
            fileOffset = candidate.FileOffset + (virtualAddress - candidate.VirtualAddress);
            return true;
        }
        (fileOffset, segment) = (0, default);
        return false;
    }

    /// <summary>Reads what is there: fewer bytes at the end of the file.</summary>
    public int Read(ulong fileOffset, Span<byte> destination)
    {
        var done = 0;
        while (done < destination.Length && fileOffset + (ulong)done < (ulong)_lengthBytes)
        {
            var read = RandomAccess.Read(_file, destination[done..], (long)fileOffset + done);
            if (read == 0)
                break;
            done += read;
        }
        return done;
    }

    private static ElfSymbol ParseSymbol(string name, uint index, ReadOnlySpan<byte> record)
    {
        const ushort SHN_UNDEF = 0;
        return new ElfSymbol(
            name,
            index,
            BinaryPrimitives.ReadUInt64LittleEndian(record[8..]),
            BinaryPrimitives.ReadUInt64LittleEndian(record[16..]),
            BinaryPrimitives.ReadUInt16LittleEndian(record[6..]) != SHN_UNDEF,
            IsFunction(record));
    }

    private static bool IsFunction(ReadOnlySpan<byte> record)
    {
        const int STT_FUNC = 2;
        return (record[4] & 0xf) == STT_FUNC;
    }

    private bool ReadHeaders()
    {
        const ushort ET_EXEC = 2;
        const ushort ET_DYN = 3;
        const ushort EM_X86_64 = 62;
        Span<byte> header = stackalloc byte[HeaderBytes];
        // \x7fELF, ELFCLASS64, ELFDATA2LSB
        if (Read(0, header) < HeaderBytes || !header.StartsWith("\x7f"u8) || !header[1..].StartsWith("ELF\x02\x01"u8))
            return false;
        if (BinaryPrimitives.ReadUInt16LittleEndian(header[16..]) is not (ET_EXEC or ET_DYN) || BinaryPrimitives.ReadUInt16LittleEndian(header[18..]) != EM_X86_64)
            return false;
        ReadProgramHeaders(Table(header, 32, 54, 56, ProgramHeaderBytes, "program headers"));
        foreach (var section in Records(Table(header, 40, 58, 60, ElfSection.SizeBytes, "section headers"), ElfSection.SizeBytes))
            _sections.Add(ElfSection.Parse(section.Span));
        return true;
    }

    private void ReadProgramHeaders(byte[] headers)
    {
        const uint PT_LOAD = 1;
        const uint PT_INTERP = 3;
        const uint PF_X = 1;
        foreach (var record in Records(headers, ProgramHeaderBytes))
        {
            var header = record.Span;
            var type = BinaryPrimitives.ReadUInt32LittleEndian(header);
            HasInterpreter |= type == PT_INTERP;
            if (type != PT_LOAD)
                continue;
            var segment = new ElfSegment(
                BinaryPrimitives.ReadUInt64LittleEndian(header[8..]),
                BinaryPrimitives.ReadUInt64LittleEndian(header[16..]),
                BinaryPrimitives.ReadUInt64LittleEndian(header[32..]),
                (BinaryPrimitives.ReadUInt32LittleEndian(header[4..]) & PF_X) != 0);
            Require(segment.FileOffset, segment.FileBytes, "a segment");
            _segments.Add(segment);
        }
    }

    /// <summary>A table of headers, named by the ELF header's words of its offset, record size and count.</summary>
    private byte[] Table(ReadOnlySpan<byte> header, int offsetAt, int recordBytesAt, int countAt, int recordBytes, string what)
    {
        var offset = BinaryPrimitives.ReadUInt64LittleEndian(header[offsetAt..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(header[countAt..]);
        if (offset == 0 || count == 0)
            return [];
        if (BinaryPrimitives.ReadUInt16LittleEndian(header[recordBytesAt..]) != recordBytes)
            throw Malformed($"{what} of another size than {recordBytes} bytes");
        var table = new byte[count * recordBytes];
        Require(offset, (ulong)table.Length, what);
        return Read(offset, table) == table.Length ? table : throw Malformed($"{what} end early");
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Records(byte[] table, int recordBytes)
    {
        for (var at = 0; at < table.Length; at += recordBytes)
            yield return table.AsMemory(at, recordBytes);
    }

    private ElfSection SectionAt(uint index) => index < (uint)_sections.Count ? _sections[(int)index] : throw Malformed($"a table refers to section {index} of {_sections.Count}");

    private bool IsDynamicSymbols(uint index) => index < (uint)_sections.Count && _sections[(int)index].Type == (uint)ElfSymbolTable.Dynamic;

    /// <summary>Where in a string table the names stand, also as the end of a longer one: linkers store "getpid" inside "uv_os_getpid".</summary>
    private Dictionary<uint, string> FindNames(ElfSection strings, ReadOnlySpan<string> names)
    {
        const uint SHT_STRTAB = 3;
        if (strings.Type != SHT_STRTAB)
            throw Malformed("symbols without names");
        RequireTable(strings, "names");
        var patterns = new List<(string Name, byte[] Bytes)>();
        foreach (var name in names)
            patterns.Add((name, Encoding.ASCII.GetBytes(name + '\0')));
        var overlap = patterns.Max(pattern => pattern.Bytes.Length) - 1;
        var places = new Dictionary<uint, string>();
        var buffer = new byte[BufferBytes];
        for (ulong start = 0; start < strings.LengthBytes; start += (ulong)(BufferBytes - overlap))
        {
            var piece = buffer.AsSpan(0, Read(strings.FileOffset + start, buffer.AsSpan(0, (int)Math.Min(BufferBytes, strings.LengthBytes - start))));
            foreach (var (name, bytes) in patterns)
                AddPlaces(places, name, bytes, piece, start);
        }
        return places;
    }

    private void AddPlaces(Dictionary<uint, string> places, string name, byte[] pattern, ReadOnlySpan<byte> piece, ulong start)
    {
        for (var from = 0; piece[from..].IndexOf(pattern) is >= 0 and var at; from += at + 1)
        {
            if (places.Count == MaximumMatches)
                throw Malformed($"more than {MaximumMatches} names like {name}");
            if (start + (ulong)(from + at) <= uint.MaxValue)
                places[(uint)(start + (ulong)(from + at))] = name;
        }
    }

    private void Add<T>(List<T> found, T item)
    {
        if (found.Count == MaximumMatches)
            throw Malformed($"more than {MaximumMatches} entries of one symbol");
        found.Add(item);
    }

    /// <summary>Hands over a table in pieces of whole records.</summary>
    private void Stream(ElfSection section, int recordBytes, string what, Action<ReadOnlySpan<byte>> visit)
    {
        RequireTable(section, what);
        if (section.LengthBytes % (ulong)recordBytes != 0)
            throw Malformed($"{what} of another size than {recordBytes} bytes");
        var buffer = new byte[BufferBytes];
        for (ulong done = 0; done < section.LengthBytes;)
        {
            var piece = buffer.AsSpan(0, (int)Math.Min(BufferBytes, section.LengthBytes - done));
            if (Read(section.FileOffset + done, piece) < piece.Length)
                throw Malformed($"{what} end early");
            visit(piece);
            done += (ulong)piece.Length;
        }
    }

    private void RequireTable(ElfSection section, string what)
    {
        Require(section.FileOffset, section.LengthBytes, what);
        if (section.LengthBytes > MaximumTableBytes)
            throw Malformed($"{section.LengthBytes} bytes of {what}; the limit is {MaximumTableBytes}");
    }

    private void Require(ulong offset, ulong length, string what)
    {
        if (offset > (ulong)_lengthBytes || length > (ulong)_lengthBytes - offset)
            throw Malformed($"{what} at {offset} with {length} bytes, the file has {_lengthBytes}");
    }

    private ElfFormatException Malformed(string what) => new(Path, what);
}
