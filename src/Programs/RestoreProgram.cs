using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary>Where the parts of a program lie in the husk: all within one range that no mapping of the snapshot uses.</summary>
/// <param name="Stub">The interpreter's text page(s); what stays mapped in a clone.</param>
/// <param name="Entries">Encoded entries.</param>
/// <param name="Data">Strings, structures and result words of the program.</param>
public sealed record ProgramLayout(AddressRange Stub, AddressRange Entries, AddressRange Data);

/// <summary>An encoded program with the descriptions of its entries; immutable.</summary>
public sealed record RestoreProgram(ProgramLayout Layout, IReadOnlyList<Entry> Entries, byte[] EncodedEntries, byte[] Data)
{
    /// <summary>The entry encoded at <paramref name="address"/>, as a failure report names it; null when the address is not an entry's.</summary>
    public Entry? EntryAt(VirtualAddress address)
    {
        if (!Layout.Entries.Contains(address) || (address - Layout.Entries.Start) % EntryLayout.SizeBytes != 0)
            return null;
        var index = (address - Layout.Entries.Start) / EntryLayout.SizeBytes;
        return index < (ulong)Entries.Count ? Entries[(int)index] : null;
    }
}
