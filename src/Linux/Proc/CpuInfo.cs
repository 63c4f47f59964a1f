// proc_cpuinfo(5).
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>What the processor can do.</summary>
public static class CpuInfo
{
    /// <summary>The flags of the first processor, sorted by ordinal.</summary>
    public static IReadOnlyList<string> Flags() => ParseFlags(ProcFile.Read("/proc/cpuinfo"));

    /// <summary>
    /// Takes the first line of the kind
    /// <code>flags		: fpu vme de pse avx2</code>
    /// Empty when there is none.
    /// </summary>
    public static IReadOnlyList<string> ParseFlags(ReadOnlySpan<byte> text)
    {
        foreach (var line in new Lines(text))
        {
            var cursor = new TextCursor(line);
            if (!cursor.TryToken(out var name) || !name.SequenceEqual("flags"u8))
                continue;
            cursor.SkipSpaces();
            if (!cursor.TrySkip(":"u8))
                continue;
            var flags = new List<string>();
            while (cursor.TryToken(out var flag))
                flags.Add(Encoding.ASCII.GetString(flag));
            flags.Sort(StringComparer.Ordinal);
            return flags;
        }
        return [];
    }
}
