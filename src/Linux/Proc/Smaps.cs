// proc_pid_smaps(5); kernel fs/proc/task_mmu.c show_smap.
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>One mapping with what it holds in memory: a record of <c>/proc/PID/smaps</c>.</summary>
public sealed record SmapsEntry : MapsEntry
{
    [System.Diagnostics.CodeAnalysis.SetsRequiredMembers]
    internal SmapsEntry(MapsEntry head) : base(head)
    {
    }

    public MemoryUse Use { get; internal set; } = new();

    /// <summary>Two-letter codes of VmFlags, in the kernel's order: "rd", "wr", "mr", "gd" (grows down), "dc" (not inherited by fork), "wf" (wiped on fork), …</summary>
    public IReadOnlyList<string> VmFlags { get; internal set; } = [];

    /// <summary>Memory protection key of pkeys(7); 0 where the processor has none.</summary>
    public int ProtectionKey { get; internal set; }

    public ulong RssKib => Use.RssKib;

    public ulong PssKib => Use.PssKib;

    public bool HasVmFlag(string code) => VmFlags.Contains(code);
}

/// <summary>How much memory a mapping or a whole address space has, in KiB.</summary>
public sealed record MemoryUse
{
    /// <summary>Pages in memory.</summary>
    public ulong RssKib { get; private set; }

    /// <summary>Pages in memory, each divided by the number of its users.</summary>
    public ulong PssKib { get; private set; }

    public ulong SharedCleanKib { get; private set; }

    public ulong SharedDirtyKib { get; private set; }

    public ulong PrivateCleanKib { get; private set; }

    public ulong PrivateDirtyKib { get; private set; }

    /// <summary>Pages that belong to no file.</summary>
    public ulong AnonymousKib { get; private set; }

    public ulong AnonymousHugeKib { get; private set; }

    public ulong SwapKib { get; private set; }

    /// <summary>Pages in swap, each divided by the number of its users.</summary>
    public ulong SwapPssKib { get; private set; }

    public ulong PrivateKib => PrivateCleanKib + PrivateDirtyKib;

    /// <summary>
    /// Takes one line, ignoring names it does not know:
    /// <code>Private_Dirty:        12 kB</code>
    /// </summary>
    internal bool TryTake(ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        var cursor = new TextCursor(value);
        cursor.SkipSpaces();
        if (!cursor.TryDecimal(out var kib))
            return false;
        if (name.SequenceEqual("Rss"u8))
            RssKib = kib;
        else if (name.SequenceEqual("Pss"u8))
            PssKib = kib;
        else if (name.SequenceEqual("Shared_Clean"u8))
            SharedCleanKib = kib;
        else if (name.SequenceEqual("Shared_Dirty"u8))
            SharedDirtyKib = kib;
        else if (name.SequenceEqual("Private_Clean"u8))
            PrivateCleanKib = kib;
        else if (name.SequenceEqual("Private_Dirty"u8))
            PrivateDirtyKib = kib;
        else if (name.SequenceEqual("Anonymous"u8))
            AnonymousKib = kib;
        else if (name.SequenceEqual("AnonHugePages"u8))
            AnonymousHugeKib = kib;
        else if (name.SequenceEqual("Swap"u8))
            SwapKib = kib;
        else if (name.SequenceEqual("SwapPss"u8))
            SwapPssKib = kib;
        return true;
    }
}

/// <summary>Reads <c>/proc/PID/smaps</c>; the kernel walks every page table for it, so prefer <see cref="Maps"/> or <see cref="SmapsRollup"/> where they do.</summary>
public static class Smaps
{
    /// <summary>Mappings in ascending order.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone; EACCES.</exception>
    public static List<SmapsEntry> Read(int pid)
    {
        if (TryParse(ProcFile.Read(pid, null, "smaps"), out var entries, out var badLine))
            return entries;
        throw ProcFormat.Unreadable($"/proc/{pid}/smaps", badLine);
    }

    /// <summary>
    /// Parses a whole file: a line as in maps opens each record, "Name: value" lines follow.
    /// <code>
    /// 7ffd47dc0000-7ffd47de1000 rw-p 00000000 00:00 0     [stack]
    /// Rss:                  16 kB
    /// ProtectionKey:         0
    /// VmFlags: rd wr mr mw me gd ac
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out List<SmapsEntry> entries) => TryParse(text, out entries, out _);

    private static bool TryParse(ReadOnlySpan<byte> text, out List<SmapsEntry> entries, out ReadOnlySpan<byte> badLine)
    {
        entries = [];
        badLine = default;
        SmapsEntry? current = null;
        foreach (var line in new Lines(text))
        {
            badLine = line;
            if (IsField(line, out var name, out var value))
            {
                if (current is null || !TryTake(current, name, value))
                    return false;
            }
            else
            {
                if (!Maps.TryParse(line, out var head))
                    return false;
                current = new SmapsEntry(head);
                entries.Add(current);
            }
        }
        return true;
    }

    // Field names begin with a capital letter, mapping lines with a small hexadecimal digit.
    private static bool IsField(ReadOnlySpan<byte> line, out ReadOnlySpan<byte> name, out ReadOnlySpan<byte> value)
    {
        name = value = default;
        var colon = line.IndexOf((byte)':');
        if (colon <= 0 || line[..colon].ContainsAny((byte)' ', (byte)'-') || line[0] is (>= (byte)'0' and <= (byte)'9') or (>= (byte)'a' and <= (byte)'f'))
            return false;
        name = line[..colon];
        value = line[(colon + 1)..];
        return true;
    }

    private static bool TryTake(SmapsEntry entry, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        var cursor = new TextCursor(value);
        if (name.SequenceEqual("VmFlags"u8))
        {
            var flags = new List<string>();
            while (cursor.TryToken(out var flag))
                flags.Add(string.Intern(Encoding.ASCII.GetString(flag)));
            entry.VmFlags = flags;
            return true;
        }
        if (name.SequenceEqual("ProtectionKey"u8))
        {
            cursor.SkipSpaces();
            var known = cursor.TryInt(out var key);
            entry.ProtectionKey = key;
            return known;
        }
        entry.Use.TryTake(name, value);
        return true;
    }
}

/// <summary>Reads <c>/proc/PID/smaps_rollup</c>: the sums of smaps, several times cheaper (Linux 4.14).</summary>
public static class SmapsRollup
{
    /// <summary>Memory of the whole process; zeros for one without address space.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone; EACCES.</exception>
    public static MemoryUse Read(int pid) => Parse(ProcFile.Read(pid, null, "smaps_rollup"));

    /// <summary>
    /// Sums of a whole file; lines that are no "Name: N kB" are ignored.
    /// <code>
    /// 56111c930000-7ffd47de0000 ---p 00000000 00:00 0     [rollup]
    /// Pss:                 342 kB
    /// </code>
    /// </summary>
    public static MemoryUse Parse(ReadOnlySpan<byte> text)
    {
        var use = new MemoryUse();
        foreach (var line in new Lines(text))
        {
            var colon = line.IndexOf((byte)':');
            if (colon > 0)
                use.TryTake(line[..colon], line[(colon + 1)..]);
        }
        return use;
    }
}
