// proc_pid_maps(5); kernel fs/proc/task_mmu.c show_map_vma.
using Snapshots.AddressSpace;

namespace Snapshots.Linux.Proc;

/// <summary>PROT_* bits of mmap(2).</summary>
[Flags]
public enum MemoryProtection
{
    None = 0,
    Read = 1,
    Write = 2,
    Execute = 4,
}

/// <summary>One mapping: a line of <c>/proc/PID/maps</c>.</summary>
public record MapsEntry
{
    public required AddressRange Range { get; init; }

    public required MemoryProtection Protection { get; init; }

    /// <summary>MAP_SHARED, else MAP_PRIVATE.</summary>
    public required bool IsShared { get; init; }

    /// <summary>Offset of the first page in the mapped object, bytes.</summary>
    public required ulong OffsetBytes { get; init; }

    /// <summary>Device of the mapped file in the form of <c>st_dev</c>; 0 for anonymous memory.</summary>
    public required ulong Device { get; init; }

    /// <summary>Inode of the mapped file; 0 for private anonymous memory.</summary>
    public required ulong Inode { get; init; }

    /// <summary>The file, or a name in brackets (<c>[heap]</c>, <c>[anon:name]</c>); empty for unnamed memory. Without " (deleted)".</summary>
    public required string Path { get; init; }

    /// <summary>The name ended in " (deleted)". A file that really bears such a name looks the same: only <c>map_files</c> and its link count tell.</summary>
    public required bool IsDeleted { get; init; }

    /// <summary>A mapping of a file or of shared memory, which has an inode.</summary>
    public bool HasFile => Inode != 0;
}

/// <summary>Reads <c>/proc/PID/maps</c>.</summary>
public static class Maps
{
    /// <summary>Mappings in ascending order; <c>[vsyscall]</c> included. Empty for a process without address space (kernel thread, zombie).</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone; EACCES.</exception>
    public static List<MapsEntry> Read(int pid)
    {
        var entries = new List<MapsEntry>();
        foreach (var line in new Lines(ProcFile.Read(pid, null, "maps")))
            entries.Add(TryParse(line, out var entry) ? entry : throw ProcFormat.Unreadable($"/proc/{pid}/maps", line));
        return entries;
    }

    /// <summary>
    /// Parses one line:
    /// <code>
    /// 7f2c8a000000-7f2c8a021000 rw-p 00001000 fe:00 247270     /usr/lib/libc.so.6 (deleted)
    /// start        end          prot offset   dev   inode      name
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> line, out MapsEntry entry)
    {
        entry = null!;
        var cursor = new TextCursor(line);
        if (!cursor.TryHex(out var start) || !cursor.TrySkip("-"u8) || !cursor.TryHex(out var end) || end < start
            || !cursor.TryToken(out var mode) || !TryParseMode(mode, out var protection, out var shared))
            return false;
        cursor.SkipSpaces();
        if (!cursor.TryHex(out var offset))
            return false;
        cursor.SkipSpaces();
        if (!cursor.TryHex(out var major) || !cursor.TrySkip(":"u8) || !cursor.TryHex(out var minor))
            return false;
        cursor.SkipSpaces();
        if (!cursor.TryDecimal(out var inode))
            return false;
        cursor.SkipSpaces();
        var name = cursor.Rest;
        var deleted = name.EndsWith(" (deleted)"u8);
        entry = new MapsEntry
        {
            Range = new AddressRange(new VirtualAddress(start), new VirtualAddress(end)),
            Protection = protection,
            IsShared = shared,
            OffsetBytes = offset,
            Device = DeviceNumber.Make(major, minor),
            Inode = inode,
            Path = EscapedText.UnescapeNewlines(deleted ? name[..^" (deleted)"u8.Length] : name),
            IsDeleted = deleted,
        };
        return true;
    }

    // rwxp: the last letter is p (private) or s (shared).
    private static bool TryParseMode(ReadOnlySpan<byte> mode, out MemoryProtection protection, out bool shared)
    {
        protection = MemoryProtection.None;
        shared = false;
        if (mode.Length != 4)
            return false;
        protection |= mode[0] == 'r' ? MemoryProtection.Read : 0;
        protection |= mode[1] == 'w' ? MemoryProtection.Write : 0;
        protection |= mode[2] == 'x' ? MemoryProtection.Execute : 0;
        shared = mode[3] == 's';
        return "r-"u8.Contains(mode[0]) && "w-"u8.Contains(mode[1]) && "x-"u8.Contains(mode[2]) && "sp"u8.Contains(mode[3]);
    }
}
