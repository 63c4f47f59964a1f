namespace Snapshots.RestorePool.Elf;

/// <summary>A file that begins like an ELF file is not what elf(5) describes. Nothing of it was used.</summary>
public sealed class ElfFormatException(string path, string what) : Exception($"{path} is no well-formed ELF file: {what}");
