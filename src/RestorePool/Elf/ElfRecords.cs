using System.Buffers.Binary;

namespace Snapshots.RestorePool.Elf;

/// <summary>A PT_LOAD program header: file bytes that a loader maps at a virtual address.</summary>
/// <param name="Executable">PF_X.</param>
internal readonly record struct ElfSegment(ulong FileOffset, ulong VirtualAddress, ulong FileBytes, bool Executable);

/// <summary>A section header, as far as tables need it.</summary>
/// <param name="Link">For symbols the section of their names, for relocations that of their symbols.</param>
internal readonly record struct ElfSection(uint Type, ulong FileOffset, ulong LengthBytes, uint Link)
{
    public const int SizeBytes = 64;

    // sh_type 4, sh_offset 24, sh_size 32, sh_link 40
    public static ElfSection Parse(ReadOnlySpan<byte> header) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(header[4..]),
        BinaryPrimitives.ReadUInt64LittleEndian(header[24..]),
        BinaryPrimitives.ReadUInt64LittleEndian(header[32..]),
        BinaryPrimitives.ReadUInt32LittleEndian(header[40..]));
}

/// <summary>A symbol.</summary>
/// <param name="Index">Its place in the table, by which relocations name it.</param>
/// <param name="Value">A virtual address when it is defined.</param>
/// <param name="SizeBytes">0 when unknown.</param>
internal readonly record struct ElfSymbol(string Name, uint Index, ulong Value, ulong SizeBytes, bool IsDefined, bool IsFunction);

/// <summary>Which table of symbols: sh_type.</summary>
internal enum ElfSymbolTable
{
    /// <summary>SHT_SYMTAB: all symbols, absent from stripped files.</summary>
    All = 2,

    /// <summary>SHT_DYNSYM: what the file exports and imports.</summary>
    Dynamic = 11,
}
